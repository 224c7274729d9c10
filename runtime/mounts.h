/* mounts: making each mount of a config as a detached tree, and attaching it in the root.
 *
 * The sources of binds are seen in the caller's mount namespace only, so they are taken before init leaves it.
 *
 * Ownership  Trees are descriptors of the caller's; unattached they vanish with their last descriptor.
 * Units      -
 * Errors     Reported, with the kernel's own words from the file system context where it gives some.
 * Threads    -
 * Source     mount API of Linux 5.2 (fsopen, fsmount, move_mount, open_tree) and 5.12 (mount_setattr).
 */
#pragma once

#include "runtime/cgroup.h"
#include "runtime/config.h"

/* A new file system as a detached mount. `data`: comma-separated options or NULL. `optional`: -ENODEV (the kernel
 * has no such type) and -EPERM are returned bare. */
int mounts_new(const char *type, const char *data, uint64_t attributes, bool optional);

/* What stands at a descriptor or path as a detached mount. */
int mounts_clone(int dir_fd, const char *path, bool recursive, uint64_t attributes);

enum mounts_which { MOUNTS_ALL, MOUNTS_EARLY, MOUNTS_LATE };

/* Room for one descriptor per mount of the config, all -1; free(). NULL: no memory. */
int *mounts_no_trees(const struct config *c);

/* Before the mount namespace is made: fills in what is to be taken from here; -1 stays for those that come later. */
int mounts_prepare(const struct config *c, enum mounts_which which, int *trees);

/* In it: makes what is left and attaches these mounts below root_fd, in order. */
int mounts_attach_all(const struct config *c, enum mounts_which which, int *trees, const struct cgroup *cg, int root_fd);

int mounts_attach(int tree_fd, int target_fd);
