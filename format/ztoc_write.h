/* ztoc_write: SOCI's table of a layer, as soci-snapshotter would write it.
 *
 * Its readers find a member's header where the member before ends, so nothing else may lie between two members.
 *
 * Ownership  ztoc_write_new() hands over; ztoc_write_free() ends it.
 * Units      Bytes of the plain tar, unless they are called packed.
 * Errors     -EOPNOTSUPP: the format cannot hold this layer: reported, with the member. -EFBIG: over what may be read
 *            back; -ENOMEM. Bare.
 * Threads    One thread at a time.
 * Source     ztoc.h; soci-snapshotter ztoc/toc_builder.go, ztoc/ztoc_marshaler.go, fs/reader/reader.go (what it checks).
 */
#pragma once

#include "base/bytes.h"
#include "format/tar.h"
#include "format/zinfo_make.h"

#define ZTOC_WRITE_TOOL "lazyrun" /* who made it; the same in every version, so that the same layer has the same table */

struct ztoc_write;

int ztoc_write_new(struct ztoc_write **ret);
void ztoc_write_free(struct ztoc_write **w);

/* In the tar's order. */
int ztoc_write_member(struct ztoc_write *w, const struct tar_member *m);

/* `tar_size` without what follows the end mark. */
int ztoc_write_finish(struct ztoc_write *w, const struct zinfo *z, uint64_t tar_size, struct bytes *ret);
