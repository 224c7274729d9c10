/* layer_new: a layer directory being made; it appears in the store whole, by rename, or not at all.
 *
 * Ownership  layer_new_open() hands over; layer_new_free() ends it and removes what was not committed.
 * Units      Bytes of the layer file.
 * Errors     Reported with the store's path; -ENOSPC says what to do.
 * Threads    One thread at a time, but layer_new_write() may run beside others on other ranges.
 * Source     docs/design.md, "The cache".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "cache/store.h"
#include "format/layer_builder.h"

struct layer_new;

int layer_new_open(const struct store *s, struct layer_new **ret);
void layer_new_free(struct layer_new **n);

int layer_new_write(struct layer_new *n, const void *data, size_t size, uint64_t off);
int layer_new_read(struct layer_new *n, void *data, size_t size, uint64_t off);
int layer_new_copy(struct layer_new *n, const struct layer_copy *copy);

/* The index as a shared mapping of `size` zero bytes, allocated on disk in full. Valid until commit. */
int layer_new_index(struct layer_new *n, uint64_t size, void **ret);

/* A further file of the layer: "blob", "sources", "windows". */
int layer_new_file(struct layer_new *n, const char *name, const void *data, size_t size);

/* Sets the layer file's size, writes spans and a have-map with all bits set, and renames the
 * directory to `layer_key`. A layer of that key that is there already is kept and completed. */
int layer_new_commit(struct layer_new *n, const char *layer_key, uint64_t layer_file_size,
		     const struct bytes *spans);

/* The same, but no page is there yet: they come span by span. A layer of that key that is there already stays as it is. */
int layer_new_commit_empty(struct layer_new *n, const char *layer_key, uint64_t layer_file_size,
			   const struct bytes *spans);
