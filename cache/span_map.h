/* span_map: which spans of a foreign table are in the layer file, also while a page that they touch is not complete.
 *
 * Lives in the memory of the one process that fills. What it knew is lost with that: then a span is in when all its
 * pages are, and at most a few are fetched a second time.
 *
 * Ownership  span_map_new() hands over and borrows the table; span_map_free() ends it.
 * Units      Spans by their number in the table; bytes of the layer file.
 * Errors     -ENOMEM, bare.
 * Threads    Any; bits are atomic.
 * Source     docs/design.md, "The one idea": the have-map.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/have_map.h"
#include "format/span_table.h"

struct span_map;

int span_map_new(const struct span_table *t, const struct have_map *have, struct span_map **ret);
void span_map_free(struct span_map **m);

bool span_map_has(const struct span_map *m, size_t span);
void span_map_set(struct span_map *m, size_t span);

/* All spans that touch the range are gone. */
void span_map_clear(struct span_map *m, uint64_t off, uint64_t size);

/* Whether all spans that touch the range are in. */
bool span_map_covers(const struct span_map *m, uint64_t off, uint64_t size);
