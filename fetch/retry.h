/* retry: which failures pass by themselves, and how long to wait before the next try.
 *
 * Ownership  A plain value, one for each thing to be done.
 * Units      Milliseconds, seconds where the name says so.
 * Errors     1: try again (the wait is over). 0: do not. -ECANCELED. Bare.
 * Threads    One thread at a time.
 * Source     RFC 9110, 10.2.3 (Retry-After), 15.5, 15.6; exponential back-off with jitter.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fetch/transport.h"

struct retry {
	bool patient; /* also wait for a host that refuses or has no name now: something hangs on it
		       */
	unsigned int n;
	uint64_t began_ms;
};

/* Before the first try, and again when a long transfer has moved on. */
void retry_begin(struct retry *r, bool patient);

/* Sleeps, when it is worth it. */
int retry_wait(struct retry *r, const struct transport_reply *reply, struct transport_watch *watch);
