/* ops: what the kernel is answered. The only file that knows FUSE's operations.
 *
 * Layout: /images/<image key>/..., merged trees.
 *
 * Ownership  ops_new() hands over; it borrows the setup's parts.
 * Units      -
 * Errors     Codes that no file system call gives become EIO. A nodeid of a dead image or layer is
 *            ESTALE, which makes the kernel look the name up again.
 * Threads    Any number of workers call in at once; nothing here changes after ops_new().
 * Source     linux/fuse.h, libfuse's fuse_lowlevel.h; KERNEL.md B, I, J.
 */
#pragma once

#include "fs/dir_cache.h"
#include "fs/image_view.h"
#include "fs/reader.h"

struct ops;

struct ops_parts {
	const struct number_table *numbers;
	struct image_views *views;
	struct dir_cache *dirs;
	struct reader *reader;
};

int ops_new(const struct ops_parts *parts, struct ops **ret);
void ops_free(struct ops **o);

/* A libfuse session whose user data is `o`; fuse_session_destroy() ends it. */
int ops_session(struct ops *o, struct fuse_session **ret);

/* An image was removed: the kernel forgets its name. */
void ops_image_removed(struct ops *o, struct fuse_session *se, uint32_t image_number);
