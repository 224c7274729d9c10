/* fuse_mount: the FUSE mount at <run>/fs: made, and taken away again.
 *
 * Ownership  fuse_mount_make() hands over the descriptor of /dev/fuse.
 * Units      -
 * Errors     Reported.
 * Threads    Any.
 * Source     mount(2), Documentation/filesystems/fuse.rst.
 */
#pragma once

#include "cache/store.h"

#define FUSE_MOUNT_NAME "fs" /* below the run directory */

/* Takes away what a dead server left there first. */
int fuse_mount_make(const struct store *s, int *ret_dev_fd);

/* Whoever still uses it gets errors from now on. */
void fuse_mount_remove(const struct store *s);
