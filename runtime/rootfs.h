/* rootfs: the container's root: made, entered, and closed up with masked and read-only paths.
 *
 * Ownership  rootfs_mount() hands over a descriptor of the attached root.
 * Units      -
 * Errors     Reported.
 * Threads    Init only.
 * Source     overlayfs.rst; pivot_root(2), "pivot_root(".", ".")".
 */
#pragma once

#include "runtime/config.h"

/* The overlay (or the directory), attached over "/" of our own mount namespace, still unentered. */
int rootfs_mount(const struct config *c);

/* Covers masked_paths, write-protects readonly_paths and, if asked, the root. */
int rootfs_protect(const struct config *c, int root_fd);

/* The host's tree is gone after this. */
int rootfs_enter(int root_fd);
