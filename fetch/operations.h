/* operations: what each request of a command does.
 *
 * Ownership  Borrows everything.
 * Units      -
 * Errors     Reported, for the command.
 * Threads    Any; operations_run() may wait for registries, the others never wait.
 * Source     base/message.h lists the requests.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include <json-c/json_object.h>

#include "base/message.h"
#include "fetch/context.h"
#include "fetch/fill.h"

struct operation {
	struct context *context;
	struct fill *fill;
	int64_t started; /* when the fetcher was, as clock_ms() */
	const struct message_head *head;
	struct json_object *o; /* the request */
	const atomic_bool *gone; /* nobody waits for the answer any more */
	_Atomic(const char *) *waiting_for; /* to be set: the registry or layout that is asked */
};

/* All but "stop". Puts its fields into the answer. */
int operations_run(const struct operation *q, struct json_object *answer);

/* The same for what can be answered at once: a start from what is here. False: nothing was done. */
bool operations_known(const struct operation *q, struct json_object *answer);

/* A new fetcher learns what the last one was told: credentials, and what holds the server. */
void operations_replay(struct context *c, struct json_object *o);

/* The image that a request names. */
int operations_reference(struct json_object *o, struct reference *ret);
