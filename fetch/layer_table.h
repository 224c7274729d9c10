/* layer_table: opened, writable layers of the fetcher, by key.
 *
 * Ownership  layer_table_get() hands over a reference, given back with layer_store_free(). The table has its
 *            own until the drop: what a removed layer has on disk is free when its last user is done.
 * Units      -
 * Errors     -ENOENT: not in the store, or damaged. Others reported by layer_store_open().
 * Threads    Any.
 * Source     -
 */
#pragma once

#include "cache/layer_store.h"

struct layer_table;

int layer_table_new(const struct store *s, struct layer_table **ret);
int layer_table_get(struct layer_table *t, const char *layer_key, struct layer_store **ret);

/* For who makes layers from tables. 1: it is there and whole, another start's or image's; 0: it is to be made. -EBADMSG
 * (reported): it was made from this table before, which was found to lie. */
int layer_table_is_made(struct layer_table *t, const char *layer_key);

/* The layer is removed or made anew: the next get opens what is there then. */
void layer_table_drop(struct layer_table *t, const char *layer_key);
