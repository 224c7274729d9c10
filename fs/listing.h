/* listing: a directory's entries as READDIR and READDIRPLUS want them.
 *
 * Ownership  Fills the caller's buffer.
 * Units      The cookie of an entry says where reading goes on behind it; 0 starts.
 * Errors     Bare. *ret_used counts what was filled in before the error.
 * Threads    Any.
 * Source     linux/fuse.h; libfuse's fuse_add_direntry().
 */
#pragma once

#include "fs/place.h"

int listing_fill(struct places *all, const struct place *p, fuse_req_t request, bool plus, uint64_t cookie, char *data,
		 size_t size, size_t *ret_used);
