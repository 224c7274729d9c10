/* tell: a command that waits for something long hears now and then that it goes on: who hears nothing takes the server
 * for dead.
 *
 * Ownership  A plain value; `event` is borrowed.
 * Units      -
 * Errors     None: who does not listen is not told.
 * Threads    One at a time.
 * Source     base/message.h; cli/client.h, the deadline.
 */
#pragma once

#include "fetch/context.h"

struct tell {
	const struct context *context;
	uint32_t connection;
	const char *event; /* what is done: "convert" */
	int64_t told;
};

/* At most each second. `layer` of `layers` is being worked on. */
void tell_progress(struct tell *t, size_t layer, size_t layers);
