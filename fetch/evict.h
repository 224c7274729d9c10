/* evict: drops bytes of layer files that can be fetched again by range.
 *
 * Ownership  -
 * Units      Bytes of the layer file.
 * Errors     evict_layer(): reported. evict_ranges(): bare; -EBUSY: the layer is being streamed right now.
 * Threads    evict_layer(): the caller holds the context's store_lock and flight_lock. evict_ranges(): neither.
 * Source     docs/design.md, "The cache".
 */
#pragma once

#include <stdbool.h>

#include "fetch/context.h"

/* Everything of a layer that has a way back; *evicted grows. *ret_why: NULL, or why nothing of it can go. */
int evict_layer(struct context *c, const char *key, uint64_t *evicted, const char **ret_why);

/* Whether a span with a digest can be fetched again. */
bool evict_has_way_back(const struct context *c, const char *key);

/* Ranges of whole spans, for which the caller has found a way back or does not want one. */
int evict_ranges(struct context *c, struct layer_store *layer, const struct layer_range *ranges, size_t n);
