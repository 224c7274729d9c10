/* A handful of names, each believed for a while: a registry may come back with TLS. */
#include "fetch/registry_host.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/limits.h"

#define N_HOSTS 16
#define BELIEVED_SECONDS 60

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static struct {
	char authority[LIMIT_REPOSITORY_SIZE + 16];
	time_t until;
} hosts[N_HOSTS];
static unsigned int next;

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

void registry_host_set_plain(const char *authority, bool plain)
{
	size_t slot = N_HOSTS;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < N_HOSTS; i++)
		if (strcmp(hosts[i].authority, authority) == 0)
			slot = i;
	if (slot == N_HOSTS && plain) {
		slot = next;
		next = (next + 1) % N_HOSTS;
		snprintf(hosts[slot].authority, sizeof(hosts[slot].authority), "%s", authority);
	}
	if (slot < N_HOSTS)
		hosts[slot].until = plain ? now() + BELIEVED_SECONDS : 0;
	pthread_mutex_unlock(&lock);
}

bool registry_host_is_plain(const char *authority)
{
	bool plain = false;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < N_HOSTS; i++)
		plain |= strcmp(hosts[i].authority, authority) == 0 && now() < hosts[i].until;
	pthread_mutex_unlock(&lock);
	return plain;
}
