/* lazy_requests: what `lazyrun index` asks of the fetcher, and which command a start is for.
 *
 * Ownership  Borrows everything for the call.
 * Units      -
 * Errors     Reported.
 * Threads    A request's own.
 * Source     base/message.h.
 */
#pragma once

#include "fetch/image.h"
#include "fetch/source.h"

/* What will run, from the request's "entrypoint" and "args": lazy_artifact_command() of the container's argv. */
int lazy_requests_command(struct json_object *o, const struct image *image, struct bytes *ret);

int lazy_requests_record(struct context *c, struct json_object *o);
int lazy_requests_record_end(struct context *c);
int lazy_requests_index(struct context *c, uint32_t connection, struct source *source, struct json_object *o,
			struct json_object *answer);
