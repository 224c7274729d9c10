/* ops: what the kernel is answered. The only file that knows FUSE's operations.
 *
 * Layout: /images/<image key>/..., merged trees.
 *
 * Ownership  ops_new() hands over; places and reader are borrowed.
 * Units      -
 * Errors     Codes that no file system call gives become EIO. A nodeid of a dead image or layer is
 *            ESTALE, which makes the kernel look the name up again.
 * Threads    Any number of workers call in at once; nothing here changes after ops_new().
 * Source     linux/fuse.h, libfuse's fuse_lowlevel.h; KERNEL.md B, I, J.
 */
#pragma once

#include "fs/place.h"
#include "fs/reader.h"

struct ops;

int ops_new(struct places *places, struct reader *reader, struct ops **ret);
void ops_free(struct ops **o);

/* A libfuse session whose user data is `o`; fuse_session_destroy() ends it. */
int ops_session(struct ops *o, struct fuse_session **ret);
