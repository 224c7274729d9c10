/* span_unit: neighbouring spans of a foreign table that are fetched with one request.
 *
 * eStargz and zstd:chunked have a chunk for each small file: one request each would be a round trip for a kilobyte.
 * Which spans make a unit depends on the table alone, so that whoever asks for one of them asks for the same unit.
 *
 * Ownership  A plain value.
 * Units      Spans by their number; bytes of the blob.
 * Errors     Bare: span_unit_put() gives -EBADMSG when a span's bytes are wrong; the others of the unit are in then.
 * Threads    Any.
 * Source     docs/design.md, "The one idea".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/layer_store.h"

struct span_unit {
	size_t first, n;
	uint64_t packed_off, packed_size; /* holds all of them */
};

/* Whether it can only be decoded when the span before it is here (SPAN_WINDOW_BEFORE), and that is not. */
bool span_unit_needs_before(const struct layer_store *layer, size_t span);

/* The unit of a span. In a table of our own each span is one. */
void span_unit_of(const struct span_table *t, size_t span, struct span_unit *ret);

/* The part of it whose bytes are not here; n is 0 when nothing is missing. */
void span_unit_missing(const struct layer_store *layer, const struct span_unit *all, struct span_unit *ret);

/* At most so many bytes of memory while it is on its way: packed, plain, and a zstd window. */
uint64_t span_unit_memory(const struct span_table *t, const struct span_unit *u);
/* Whether so many may be taken when large units have taken `out` already: small ones always, a large one when it fits
 * or when it is the only one. */
bool span_unit_is_large(uint64_t memory);
bool span_unit_fits(uint64_t memory, uint64_t out);

/* Decodes, verifies and writes what is missing. `packed` holds the unit's packed range. */
int span_unit_put(struct layer_store *layer, const struct span_unit *u, const uint8_t *packed);
