/* beneath: opening paths that an attacker may have shaped, without ever leaving a directory.
 *
 * Ownership  Returns a descriptor (O_CLOEXEC) that the caller closes.
 * Units      -
 * Errors     errno of openat2(2), bare.
 * Threads    Any.
 * Source     openat2(2), Linux 5.6.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

/* In a rootfs: symlinks are followed as if `root_fd` were "/". Magic links are refused. */
int beneath_root_open(int root_fd, const char *path, int flags, mode_t mode);

/* In the cache: no symlink at all, nothing above `dir_fd`. */
int beneath_cache_open(int dir_fd, const char *path, int flags, mode_t mode);

/* For who walks by himself: takes the next name off a path (NAME_MAX + 1 bytes of it at most, which no name has). False
 * at its end. */
bool beneath_next_name(char *todo, char name[static NAME_MAX + 2], bool *ret_last);
