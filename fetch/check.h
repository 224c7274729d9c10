/* check: whether everything in the store is what it was when it was verified.
 *
 * Ownership  Objects stay the caller's.
 * Units      Bytes of layer files.
 * Errors     What is wrong is a problem, listed in the answer; reported only: what keeps the check from looking.
 * Threads    check_run(): any request's thread. Nothing else waits for it.
 * Source     base/message.h, "check".
 */
#pragma once

#include <stdbool.h>

#include <json-c/json_object.h>

#include "fetch/context.h"

struct check {
	struct context *context;
	uint32_t connection; /* of the command, which is told how far it is */
	bool dry;	     /* repairs nothing */
	uint64_t n_layers, layers_to_come, n_blobs, n_names, bytes;
	uint64_t n_problems, n_repaired;
	int64_t told;
	struct json_object *problems;
};

int check_run(struct context *c, uint32_t connection, bool dry, struct json_object *answer);

/* `repair`: what was done about it; NULL: nothing. */
void check_problem(struct check *c, const char *what, const char *why, const char *repair);

/* Tells the command that the check goes on, now and then. */
void check_tell(struct check *c);
