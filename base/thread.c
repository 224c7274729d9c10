/* One size for all: what a READ's bytes, a directory's entries and a TLS handshake need, and room. */
#include "base/thread.h"

#include <stdbool.h>

#include "base/sanitized.h"

#define STACK_SIZE ((SANITIZED ? 8ul : 1ul) << 20) /* the sanitizers' own data lies on it, too */

static int start(pthread_t *ret, bool detached, void *(*run)(void *), void *argument)
{
	pthread_attr_t attributes;
	int r = pthread_attr_init(&attributes);

	if (r != 0)
		return -r;
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	if (detached)
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	r = pthread_create(ret, &attributes, run, argument);
	pthread_attr_destroy(&attributes);
	return -r;
}

int thread_start(pthread_t *ret, void *(*run)(void *), void *argument)
{
	return start(ret, false, run, argument);
}

int thread_start_detached(void *(*run)(void *), void *argument)
{
	pthread_t thread;

	return start(&thread, true, run, argument);
}
