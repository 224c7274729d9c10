/* Whole reads and writes; files that appear by rename. */
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void fd_free_memory(void *pointer)
{
	void **p = pointer;

	free(*p);
	*p = NULL;
}

int fd_pread_full(int fd, void *data, size_t size, uint64_t off)
{
	uint8_t *at = data;

	while (size > 0) {
		ssize_t n = pread(fd, at, size, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		at += n;
		size -= (size_t)n;
		off += (size_t)n;
	}
	return 0;
}

int fd_pwrite_full(int fd, const void *data, size_t size, uint64_t off)
{
	const uint8_t *at = data;

	while (size > 0) {
		ssize_t n = pwrite(fd, at, size, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		size -= (size_t)n;
		off += (size_t)n;
	}
	return 0;
}

int fd_write_full(int fd, const void *data, size_t size)
{
	const uint8_t *at = data;

	while (size > 0) {
		ssize_t n = write(fd, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

int fd_read_file(int dir_fd, const char *path, size_t max, struct bytes *ret)
{
	_cleanup_(fd_close) int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	_cleanup_(bytes_free) struct bytes b = {0};
	struct stat st;
	int r;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	for (;;) { /* files of /proc say size 0 */
		ssize_t n;

		r = bytes_reserve(&b, (size_t)st.st_size > b.size ? (size_t)st.st_size - b.size + 1 : 4096);
		if (r < 0)
			return r;
		n = read(fd, b.data + b.size, b.capacity - b.size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		b.size += (size_t)n;
		if (b.size > max)
			return -EFBIG;
	}
	r = bytes_terminate(&b);
	if (r < 0)
		return r;
	*ret = b;
	b = (struct bytes){0};
	return 0;
}

static int write_file(int dir_fd, const char *name, const void *data, size_t size, mode_t mode, bool sync)
{
	_cleanup_(fd_close) int fd = -1;
	char temporary[300];
	uint64_t salt;
	int r;

	if (getrandom(&salt, sizeof(salt), 0) != sizeof(salt))
		return -EIO;
	r = snprintf(temporary, sizeof(temporary), ".%.230s.%016llx", name, (unsigned long long)salt);
	if (r < 0 || (size_t)r >= sizeof(temporary))
		return -ENAMETOOLONG;
	fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	r = fd_write_full(fd, data, size);
	if (r == 0 && sync && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dir_fd, temporary, 0);
	else if (sync && fsync(dir_fd) < 0)
		r = -errno;
	return r;
}

int fd_write_file(int dir_fd, const char *name, const void *data, size_t size, mode_t mode)
{
	return write_file(dir_fd, name, data, size, mode, false);
}

int fd_write_file_synced(int dir_fd, const char *name, const void *data, size_t size, mode_t mode)
{
	return write_file(dir_fd, name, data, size, mode, true);
}

int fd_open_dir(int dir_fd, const char *name, bool make)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
	int fd = openat(dir_fd, name, flags); /* it is there, but for the first time */

	if (fd < 0 && errno == ENOENT && make && (mkdirat(dir_fd, name, 0700) == 0 || errno == EEXIST))
		fd = openat(dir_fd, name, flags);
	return fd < 0 ? -errno : fd;
}

/* One level at a time with an explicit stack of open directories would cost a descriptor a level;
 * instead the deepest first directory is found again from the top, so depth costs time only. */
static int empty_one_leaf(int top_fd, dev_t dev)
{
	_cleanup_(fd_close) int fd = dup(top_fd);

	if (fd < 0)
		return -errno;
	for (;;) {
		_cleanup_(fd_close) int next_fd = -1;
		int list_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		char name[256] = "";
		struct dirent *d;
		DIR *dir;

		if (list_fd < 0)
			return -errno;
		dir = fdopendir(list_fd);
		if (!dir) {
			close(list_fd);
			return -errno;
		}
		while ((d = readdir(dir))) {
			if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
				continue;
			if (unlinkat(fd, d->d_name, 0) == 0 || unlinkat(fd, d->d_name, AT_REMOVEDIR) == 0)
				continue;
			if (errno != ENOTEMPTY && errno != EEXIST && errno != EISDIR) {
				int err = errno;

				closedir(dir);
				return -err;
			}
			snprintf(name, sizeof(name), "%s", d->d_name);
		}
		closedir(dir);
		if (!name[0]) {
			return 0;
		}
		next_fd = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (next_fd < 0 && errno == EACCES && fchmodat(fd, name, 0700, 0) == 0)
			next_fd = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (next_fd < 0)
			return -errno;
		struct stat st;

		if (fstat(next_fd, &st) < 0)
			return -errno;
		if (st.st_dev != dev)
			return -EXDEV;
		if (fchmod(next_fd, 0700) < 0 && errno != EPERM)
			return -errno;
		fd_close(&fd);
		fd = TAKE_FD(next_fd);
	}
}

int fd_remove_tree(int dir_fd, const char *name)
{
	_cleanup_(fd_close) int top_fd = -1;
	struct stat st;

	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	top_fd = fd_open_dir(dir_fd, name, false);
	if (top_fd < 0)
		return top_fd;
	if (fstat(top_fd, &st) < 0)
		return -errno;
	for (;;) {
		int r = empty_one_leaf(top_fd, st.st_dev);

		if (r < 0)
			return r;
		if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return 0;
		if (errno != ENOTEMPTY)
			return -errno;
	}
}
