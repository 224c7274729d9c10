/* plain_side: the half of streaming a layer that works on plain bytes, in a thread of its own.
 *
 * The decoder writes into 1 MiB slots, each exactly one span; this side hashes the diffID and the
 * span, writes the layer file and feeds the tar parser and layer builder.
 *
 * Ownership  plain_side_new() hands over; plain_side_free() ends it, the thread and what was not committed.
 * Units      Bytes of the plain stream.
 * Errors     Reported in the calling thread, also those of the thread.
 * Threads    Called by the one decoding thread.
 * Source     docs/design.md, "What a start does", 3.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "cache/layer_blob.h"
#include "cache/store.h"

struct plain_side;

/* `digests`: each span gets one now. Without, spans are SPAN_NONE until way_back_make(): hashing
 * all bytes a second time is a sixth of a cold start, and only an evictor needs it. */
int plain_side_new(const struct store *s, bool digests, struct plain_side **ret);
void plain_side_free(struct plain_side **p);

/* Where the decoder writes next; waits for a free slot. *ret_size is never 0. */
int plain_side_room(struct plain_side *p, uint8_t **ret, size_t *ret_size);

/* `size` bytes were written there. */
void plain_side_push(struct plain_side *p, size_t size);
uint64_t plain_side_size(const struct plain_side *p); /* pushed so far */

/* No more bytes come: ends the thread's work. */
int plain_side_finish(struct plain_side *p);

/* After finish: checks the diffID, builds the index and puts the layer into the store under `key`. `blob` and
 * `repository`: what it was unpacked from; NULL when that is the tar itself. */
int plain_side_commit(struct plain_side *p, const struct digest *diff_id, const char *key,
		      const struct layer_blob *blob, const char *repository);
