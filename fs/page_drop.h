/* page_drop: takes the pages of an evicted layer's files out of the kernel's cache.
 *
 * Pages that stay would be right, but "evicted" means gone: memory too, and the next read fetches.
 *
 * Ownership  Borrows views and session for the life of the process.
 * Units      -
 * Errors     Reported to the log; what is left in the cache is right all the same.
 * Threads    A thread of its own for each call: the kernel waits for pages that are being read, and
 *            the need thread, which answers those reads, must not wait with it.
 * Source     FUSE_NOTIFY_INVAL_INODE; KERNEL.md H.
 */
#pragma once

#include <stdint.h>

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

#include "fs/image_view.h"

void page_drop_start(struct image_views *views, struct fuse_session *se, uint32_t layer_number, atomic_uint *n_done);
