/* dir_cache: merged directories that were looked up lately, so that the next lookup in them needs no climb.
 *
 * Nothing depends on it: what is not here is computed again by tree_dir_again().
 *
 * Ownership  Copies in, copies out.
 * Units      DIR_CACHE_SIZE counts bytes of entries; the least recently used ones go first.
 * Errors     Without memory nothing is kept.
 * Threads    Any; one mutex.
 * Source     -
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/tree.h"

#define DIR_CACHE_SIZE (2u << 20)

struct dir_cache;

/* Where a directory's attributes lie: not in its topmost part when that was only implied. */
struct dir_cache_attributes {
	uint16_t position;
	uint32_t nid;
};

int dir_cache_new(struct dir_cache **ret);
void dir_cache_free(struct dir_cache **c);

bool dir_cache_get(struct dir_cache *c, uint64_t nodeid, struct tree_dir *ret_dir,
		   struct dir_cache_attributes *ret_attributes);
void dir_cache_put(struct dir_cache *c, uint64_t nodeid, const struct tree_dir *dir,
		   struct dir_cache_attributes attributes);
