/* A flag and a position, with a condition for those who wait. */
#include "fetch/transport_watch.h"

#include <stddef.h>
#include <time.h>

void transport_watch_init(struct transport_watch *w)
{
	pthread_condattr_t a;

	*w = (struct transport_watch){0};
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&w->moved, &a);
	pthread_condattr_destroy(&a);
}

void transport_watch_destroy(struct transport_watch *w)
{
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->moved);
}

bool transport_watch_cancelled(struct transport_watch *w)
{
	bool cancelled;

	if (!w)
		return false;
	pthread_mutex_lock(&w->lock);
	cancelled = w->cancelled;
	pthread_mutex_unlock(&w->lock);
	return cancelled;
}
