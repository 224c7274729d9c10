/* requests: what commands ask of the fetcher, each answered in a thread of its own.
 *
 * Ownership  requests_new() hands over; it lives as long as the process.
 * Units      -
 * Errors     Go to the command as "errno" and "error" of the last packet.
 * Threads    requests_handle() is called by the main loop and never waits.
 * Source     base/message.h lists the requests.
 */
#pragma once

#include <json-c/json_object.h>

#include "base/message.h"
#include "fetch/context.h"
#include "fetch/fill.h"

struct requests;

int requests_new(struct context *c, struct fill *fill, struct requests **ret);

/* Takes the object over. `replay`: a remembered packet, of which only what it says about access and
 * holds counts; nothing is answered. */
void requests_handle(struct requests *q, const struct message_head *head, struct json_object *o, bool replay);

/* The command of this connection went away: what nobody else waits for is given up. */
void requests_gone(struct requests *q, uint32_t connection);

/* Tells each command that waits for a registry which one it is. Called about once a second. */
void requests_tell_waiting(struct requests *q);

/* Whether any runs, and how many have been answered so far. */
bool requests_work(struct requests *q, uint64_t *ret_answered);

/* Whether nothing is running or held, and for how many seconds. */
bool requests_idle(struct requests *q, int64_t *ret_seconds);
