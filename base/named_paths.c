/* Written whole and renamed, so that a reader knows by the inode that it has grown. */
#include "base/named_paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"

int named_paths_read(int run_fd, struct bytes *ret)
{
	int r = fd_read_file(run_fd, NAMED_PATHS, LIMIT_NAMED_PATHS_SIZE, ret);

	return r < 0 && r != -ENOENT ? fail(-r, "the run directory's file " NAMED_PATHS ": %s", strerror(-r)) : 0;
}

int named_paths_add(int run_fd, const char *path)
{
	_cleanup_(fd_close) int lock_fd = openat(run_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(bytes_free) struct bytes b = {0};
	int r;

	if (lock_fd < 0 || flock(lock_fd, LOCK_EX) < 0)
		return fail(errno, "the run directory: %s", strerror(errno));
	r = named_paths_read(run_fd, &b);
	if (r < 0)
		return r;
	for (const char *p = (const char *)b.data, *end = p + b.size; p < end; p += strlen(p) + 1)
		if (strcmp(p, path) == 0)
			return 0;
	if (b.size + strlen(path) + 1 > LIMIT_NAMED_PATHS_SIZE)
		b.size = 0; /* those still in use are named again */
	r = bytes_append(&b, path, strlen(path) + 1);
	if (r == 0)
		r = fd_write_file(run_fd, NAMED_PATHS, b.data, b.size, 0600);
	return r < 0 ? fail(-r, "the run directory's file " NAMED_PATHS ": %s", strerror(-r)) : 0;
}

static bool is_denied(int dir_fd, const char *name)
{
	return faccessat(dir_fd, name, R_OK, AT_EACCESS) < 0 && errno == EACCES;
}

static bool dir_is_denied(const char *path, const char *below)
{
	_cleanup_(fd_close) int top_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = top_fd < 0 ? -1 : openat(top_fd, below, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	bool denied = fd < 0 && errno == EACCES;
	struct dirent *e;

	if (!dir) {
		fd_close(&fd);
		return denied;
	}
	while (!denied && (e = readdir(dir)))
		denied = is_denied(dirfd(dir), e->d_name);
	closedir(dir);
	return denied;
}

bool named_paths_need_more(const struct bytes *paths)
{
	for (const char *p = (const char *)paths->data, *end = p + paths->size; p < end; p += strlen(p) + 1)
		if (is_denied(AT_FDCWD, p) || dir_is_denied(p, ".") || dir_is_denied(p, "blobs/sha256"))
			return true;
	return false;
}
