/* transport_watch: lets others follow a request while it runs, and end it.
 *
 * Ownership  A struct that its owner initialises and destroys, after every request under it has ended.
 * Units      Bytes.
 * Errors     None.
 * Threads    Any; the lock guards everything.
 * Source     -
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct transport_watch { /* all but `lock` is guarded by `lock` */
	pthread_mutex_t lock;
	pthread_cond_t moved; /* CLOCK_MONOTONIC */
	uint64_t position; /* the file holds good bytes up to here */
	bool cancelled;
};

void transport_watch_init(struct transport_watch *w);
void transport_watch_destroy(struct transport_watch *w);

/* `w` may be NULL: never. */
bool transport_watch_cancelled(struct transport_watch *w);

/* Called, by the thread that waits in transport_call(), with how many bytes have come so far; returns when that is to be
 * told next, not before so many have (and at the end). A request that is sent again begins at 0 again. */
struct transport_follow {
	uint64_t (*arrived)(void *opaque, uint64_t received);
	void *opaque;
};
