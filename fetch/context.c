/* Makes the fetcher's tables. */
#include "fetch/context.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/report.h"
#include "fetch/transport.h"

#define READ_TIMEOUT 600 /* seconds */

#define SERVER_MS 1000
#define BUDGET_MAX (UINT64_C(20) << 30)

/* A tenth of the file system, and not more than anybody would miss. */
static uint64_t default_budget(const struct store *s)
{
	struct statvfs st;
	uint64_t size;

	if (fstatvfs(s->store_fd, &st) < 0)
		return BUDGET_MAX;
	size = (uint64_t)st.f_blocks * st.f_frsize / 10;
	return size < BUDGET_MAX ? size : BUDGET_MAX;
}

int context_new(const struct fetcher_setup *setup, struct context **ret)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct context *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->setup = setup;
	c->store = setup->store;
	c->numbers = setup->numbers;
	c->budget = setup->budget ? setup->budget : default_budget(setup->store);
	c->read_timeout = READ_TIMEOUT;
	c->n_cores = cores < 1 ? 1 : (unsigned int)cores;
	pthread_mutex_init(&c->store_lock, NULL);
	pthread_rwlock_init(&c->ensure_lock, NULL);
	pthread_mutex_init(&c->flight_lock, NULL);
	pthread_cond_init(&c->flight_moved, NULL);
	r = transport_new(&c->transport);
	if (r == 0)
		r = source_table_new(c->transport, &c->sources);
	if (r == 0)
		r = layer_table_new(c->store, &c->layers);
	if (r == 0)
		r = holds_new(&c->holds);
	if (r < 0)
		return r;
	*ret = c;
	return 0;
}

void context_add_pending(struct context *c, struct pending *p)
{
	pthread_mutex_lock(&c->store_lock);
	p->next = c->pending;
	c->pending = p;
	pthread_mutex_unlock(&c->store_lock);
}

void context_remove_pending(struct context *c, struct pending *p)
{
	pthread_mutex_lock(&c->store_lock);
	for (struct pending **at = &c->pending; *at; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	pthread_mutex_unlock(&c->store_lock);
}

void context_tell_server(const struct context *c, enum need_kind kind, uint32_t number)
{
	struct need n = {.kind = kind, .number = number};
	struct pollfd p = {.fd = c->setup->need_fd, .events = POLLOUT};

	poll(&p, 1, SERVER_MS);
	if (send(p.fd, &n, sizeof(n), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		report_note("the server does not read what was removed: %s", strerror(errno));
}

static bool in_flight(const struct context *c, const struct digest *blob)
{
	for (const struct flight *f = c->flights; f; f = f->next)
		if (digest_equal(&f->blob, blob))
			return true;
	return false;
}

bool context_in_flight(const struct context *c, const char *layer_key)
{
	for (const struct flight *f = c->flights; f; f = f->next)
		if (strcmp(f->layer_key, layer_key) == 0)
			return true;
	return false;
}

static bool is_gone(const struct flight *f)
{
	return f->gone && atomic_load(f->gone);
}

static void unlink_flight(struct flight **list, const struct flight *f)
{
	for (struct flight **at = list; *at; at = &(*at)->next)
		if (*at == f) {
			*at = f->next;
			return;
		}
}

int context_enter_flight(struct context *c, struct flight *f)
{
	int r;

	pthread_mutex_lock(&c->flight_lock);
	f->next = c->waiting;
	c->waiting = f;
	while (in_flight(c, &f->blob) && !is_gone(f))
		pthread_cond_wait(&c->flight_moved, &c->flight_lock);
	unlink_flight(&c->waiting, f);
	r = is_gone(f) ? -ECANCELED : 0;
	if (r == 0) {
		f->next = c->flights;
		c->flights = f;
	}
	pthread_mutex_unlock(&c->flight_lock);
	return r;
}

bool context_flight_is_wanted(struct context *c, const struct digest *blob)
{
	const struct flight *f;

	pthread_mutex_lock(&c->flight_lock);
	for (f = c->waiting; f; f = f->next)
		if (digest_equal(&f->blob, blob) && !is_gone(f))
			break;
	pthread_mutex_unlock(&c->flight_lock);
	return f != NULL;
}

void context_wake_flights(struct context *c)
{
	pthread_mutex_lock(&c->flight_lock);
	pthread_cond_broadcast(&c->flight_moved);
	pthread_mutex_unlock(&c->flight_lock);
}

void context_leave_flight(struct context *c, struct flight *f)
{
	pthread_mutex_lock(&c->flight_lock);
	unlink_flight(&c->flights, f);
	pthread_cond_broadcast(&c->flight_moved);
	pthread_mutex_unlock(&c->flight_lock);
}
