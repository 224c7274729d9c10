/* have_synced: the file have.synced: which pages of a layer are on the disk for good, and of what index and spans.
 *
 * After a crash of the machine it alone counts: a layer without one is dropped. It is written after everything that
 * it vouches for was synced, and made to vouch for less before pages are punched.
 *
 * Ownership  have_synced_read() and have_synced_new() hand over; have_synced_free() ends it.
 * Units      Words as in have_map.h.
 * Errors     -ENOENT: there is none. -EBADMSG: torn or foreign. Others errno of the calls. All bare.
 * Threads    The caller has the layer's sync lock (cache/layer_store.c), or nobody else is there yet (cache/boot.c).
 * Source     docs/design.md, "The cache". Byte layout: have_synced.c.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"

struct have_synced {
	struct digest index, spans; /* sha256 of the files index.erofs and spans */
	uint64_t n_pages;
	uint64_t words[];
};

int have_synced_new(uint64_t n_pages, struct have_synced **ret);
int have_synced_parse(const void *data, size_t size, struct have_synced **ret);
int have_synced_read(int dir_fd, struct have_synced **ret);
void have_synced_free(struct have_synced **h);

int have_synced_write(int dir_fd, const struct have_synced *h);
/* For good, too. That there is none is no error. */
int have_synced_remove(int dir_fd);

/* sha256 of a file of the layer, read from front to back. */
int have_synced_digest(int dir_fd, const char *name, struct digest *ret);
