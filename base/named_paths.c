/* Written whole and renamed, so that a reader knows by the inode that it has grown. */
#include "base/named_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

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
