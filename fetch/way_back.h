/* way_back: gives a layer that was streamed compressed spans that can be fetched again one by one.
 *
 * It was streamed with spans that have no digests, because only an evictor needs them. From its packed bytes, kept
 * in tmp/<digest>.part or lying in an OCI layout, come checkpoints, their windows and the spans' digests.
 *
 * Ownership  Borrows the layer for the call.
 * Units      -
 * Errors     Reported. What cannot be entered in its middle, or has lost its packed bytes, is no error: 0.
 * Threads    Any; two at once make the same.
 * Source     docs/design.md, "What a start does", 3; format/span_maker.h.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "cache/layer_blob.h"
#include "cache/layer_store.h"
#include "fetch/context.h"

/* Whether its bytes can be dropped and come back. */
bool way_back_is_there(const struct layer_store *layer);

/* Whether a file of this name in the store's tmp is what a layer's way back is still to be made from, and which layer's. */
bool way_back_waits_for(struct context *c, const char *part, char ret_key[static LAYER_KEY_SIZE]);

/* The layer's packed bytes, a descriptor that is the caller's. -ENOENT: they are not here (any more). */
int way_back_open_packed(struct context *c, const char *key, const struct layer_blob *blob);

/* Makes it where it is missing: 1, the caller gets the layer anew from the layer table. Ends early with 0 when
 * `stop` (may be NULL) turns true. */
int way_back_make(struct context *c, const struct layer_store *layer, const atomic_bool *stop);

/* For all layers of the store, in idle time or when the budget is passed; packed bytes that are of no more use go. */
void way_back_step(struct context *c, const atomic_bool *stop);
