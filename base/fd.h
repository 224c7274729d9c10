/* fd: file descriptors that close themselves, and reads and writes that are whole or an error.
 *
 * Ownership  fd_close() takes a pointer, accepts -1, leaves -1. TAKE hands a value over.
 * Units      Bytes.
 * Errors     errno of the call, bare. -EIO: the file ended early. -EFBIG: larger than allowed.
 * Threads    Any.
 * Source     -
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/bytes.h"

#define _cleanup_(f) __attribute__((cleanup(f)))

/* Hands a pointer or descriptor over: yields its value and leaves the empty one. */
#define TAKE(pointer)                                                                              \
	({                                                                                         \
		__typeof__(pointer) taken_ = (pointer);                                            \
		(pointer) = NULL;                                                                  \
		taken_;                                                                            \
	})
#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int taken_ = (fd);                                                                 \
		(fd) = -1;                                                                         \
		taken_;                                                                            \
	})

void fd_close(int *fd);

/* For _cleanup_: free(*pointer) and NULL, for any pointer variable. */
void fd_free_memory(void *pointer);

int fd_pread_full(int fd, void *data, size_t size, uint64_t off);
int fd_pwrite_full(int fd, const void *data, size_t size, uint64_t off);
int fd_write_full(int fd, const void *data, size_t size);

/* The whole of a regular file below `dir_fd`, at most `max` bytes, NUL-terminated behind size.
 * Symlinks in the last component are refused (-ELOOP), so are other file types (-EINVAL). */
int fd_read_file(int dir_fd, const char *path, size_t max, struct bytes *ret);

/* Writes `name` in `dir_fd` by a temporary name and rename; never half there. */
int fd_write_file(int dir_fd, const char *name, const void *data, size_t size, mode_t mode);
/* The same, and it is on the disk when this returns: never on the way of a start. */
int fd_write_file_synced(int dir_fd, const char *name, const void *data, size_t size, mode_t mode);

/* Opens or makes (mode 0700) the directory `name` in `dir_fd`.. */
int fd_open_dir(int dir_fd, const char *name, bool make);

/* Removes what stands at `name` in `dir_fd`, directories with all they hold, without following
 * links and without crossing into other file systems. -ENOENT is success. */
int fd_remove_tree(int dir_fd, const char *name);
