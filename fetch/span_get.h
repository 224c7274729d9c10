/* span_get: one span, or a unit of several, from whoever has it into its layer.
 *
 * Ownership  Borrows everything.
 * Units      Spans of the layer; bytes of the blob.
 * Errors     Reported, naming the layer and what was asked; those that span_get_passes() may be tried again later.
 *            -ENODATA: it is decoded behind the span before it, which is not here (bare).
 * Threads    Any; blocks the calling one. A thread of its own fetches a window beside the span.
 * Source     docs/design.md, "Our own artifact", "The processes".
 */
#pragma once

#include <stdbool.h>

#include "fetch/context.h"
#include "fetch/span_unit.h"

/* Who asks. All are called by the calling thread. */
struct span_get_caller {
	void *opaque;
	void (*done)(void *opaque, size_t i); /* of several units one is in, by its place among them */
	void (*came)(void *opaque, size_t i, uint64_t packed); /* so many bytes of one have come, none: from the beginning */
	void (*wait)(void *opaque, size_t span, unsigned int ms); /* for as long as somebody else fetches it; ms 0: no limit */
	bool (*comes)(void *opaque, size_t span); /* whether somebody does, and the caller has the time to wait */
};

/* Fetches, decodes, verifies and writes the spans of `unit`. */
int span_get(struct context *c, struct layer_store *layer, const struct span_unit *unit, const struct span_get_caller *caller);

/* Several units that lie one behind the other in the blob, with one request: each is in as soon as its bytes are. Returns
 * how many are; the others are to be asked for one by one, which says why. */
size_t span_get_run(struct context *c, struct layer_store *layer, const struct span_unit *units, size_t n,
		    const struct span_get_caller *caller);

/* Where the layer is asked for first; NULL: no registry is known to have it. */
struct source *span_get_source(struct context *c, const struct layer_store *layer);

/* All windows of the layer's checkpoints, which stay beside it: for who will need most of them. */
int span_get_windows(struct context *c, struct layer_store *layer);

/* Whether a network or a registry that comes back mends this error. */
bool span_get_passes(int r);
