/* readahead: READs by which the kernel only guesses, and which may be refused.
 *
 * Nobody is told of an error in readahead: whoever wants one of its pages then asks for that page
 * alone. So a guess of which not all is here is refused, and nobody waits for a neighbour that only
 * readahead wanted. What was refused once is remembered, and not refused again: a kernel with
 * larger folios than a page asks for all of one, and that would be a program's error.
 *
 * Ownership  The marks are the layer's: image_view_layer_close() ends them.
 * Units      Bytes of the layer file.
 * Errors     None: without memory for marks nothing is refused.
 * Threads    Any; the marks are atomic.
 * Source     Linux: fuse_readpages_end() leaves the pages of a failed READ not up to date, and
 *            filemap_update_page() and filemap_fault() then read the page by itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

#include "fs/image_view.h"

#define READAHEAD_MAX 16384u /* what INIT asks for; a cached READ of more is what a program asks for by itself */

/* A READ of `size` bytes, as the kernel sent it, through the page cache: it may be a guess. */
bool readahead_is(const struct fuse_file_info *fi, size_t size);

/* Whether it may be refused; then it is marked. */
bool readahead_refuse(struct image_view_layer *l, uint64_t off, size_t size);

/* The kernel has dropped the layer's pages: all may be refused again. */
void readahead_forget(struct image_view_layer *l);
