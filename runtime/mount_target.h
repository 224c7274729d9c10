/* mount_target: the place in a root where something is to be mounted, found or made, as a descriptor.
 *
 * Ownership  Returns an O_PATH descriptor that the caller closes. Mount on it with MOVE_MOUNT_T_EMPTY_PATH:
 *            a path that was looked up twice could be two places.
 * Units      -
 * Errors     Bare: -ELOOP for a symbolic link where none may be, -ENOTDIR, -EISDIR, -EINVAL for "..".
 * Threads    Any.
 * Source     The CVEs are in the comments of mount_target.c.
 */
#pragma once

#include <stdbool.h>

/* For /proc, /sys, /dev and what lies in them: real directories all the way, or -ELOOP. */
int mount_target_strict(int root_fd, const char *path);

/* For volumes: links are followed as the container would follow them. What is missing is made, one
 * component at a time: directories 0755, and a file 0644 at the end if `file`. */
int mount_target_make(int root_fd, const char *path, bool file);
