/* rootfs: the container's root: made, entered, and closed up with masked and read-only paths.
 *
 * Ownership  rootfs_new() hands over the root as a detached mount.
 * Units      -
 * Errors     Reported.
 * Threads    Init only: what waits for a file server is init, so that the parent can watch it.
 * Source     overlayfs.rst; pivot_root(2), "pivot_root(".", ".")".
 */
#pragma once

#include "runtime/config.h"

/* The overlay (or the directory) as a detached mount. Before the mount namespace is made, because an overlay takes
 * directories of its maker's only. */
int rootfs_new(const struct config *c);

/* As everything below in the container's own mount namespace: over "/" of our own mount namespace, still unentered. */
int rootfs_attach(int root_fd);

/* Covers masked_paths, write-protects readonly_paths and, if asked, the root. */
int rootfs_protect(const struct config *c, int root_fd);

/* The host's tree is gone after this. */
int rootfs_enter(int root_fd);
