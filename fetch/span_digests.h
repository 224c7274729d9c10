/* span_digests: gives the spans of a layer that was streamed compressed their digests, from the
 * complete layer file, when something is going to need them.
 *
 * Ownership  -
 * Units      -
 * Errors     -EBADMSG: the layer file is not what was verified when it was streamed; the layer is
 *            marked bad (reported). -EAGAIN: not complete (bare).
 * Threads    One at a time for a layer: the caller holds the context's store_lock.
 * Source     docs/design.md, "What a start does", 3.
 */
#pragma once

#include "cache/layer_store.h"

/* Replaces the layer's span table when it lacks digests: 1, the caller opens the layer again. 0: has them. */
int span_digests_make(const struct store *s, const struct layer_store *layer);
