/* Reads /proc/self/cgroup, makes two directories, writes one 0. */
#include "fs/scope.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

#define FILE_MAX (64u << 10)

/* `file` of "lazyrun/serve" below `mount`; -1 where that cannot be. */
static int open_in_scope(const char *mount, const char *file)
{
	_cleanup_(fd_close) int root_fd = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(fd_close) int scope_fd = -1;

	if (root_fd < 0)
		return -1;
	mkdirat(root_fd, "lazyrun", 0755);
	mkdirat(root_fd, "lazyrun/serve", 0755);
	scope_fd = openat(root_fd, "lazyrun/serve", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return scope_fd < 0 ? -1 : openat(scope_fd, file, O_WRONLY | O_CLOEXEC);
}

static void move(const char *const *mounts, const char *file)
{
	for (; *mounts; mounts++) {
		_cleanup_(fd_close) int fd = open_in_scope(*mounts, file);

		if (fd >= 0 && write(fd, "0", 1) == 1)
			return;
	}
}

void scope_leave_starter(void)
{
	/* Version 2 alone, or beside version 1. */
	static const char *const unified[] = {"/sys/fs/cgroup/unified", "/sys/fs/cgroup", NULL};
	static const char *const named[] = {"/sys/fs/cgroup/systemd", NULL};
	_cleanup_(bytes_free) struct bytes file = {0};
	char *line, *save = NULL;

	if (fd_read_file(AT_FDCWD, "/proc/self/cgroup", FILE_MAX, &file) < 0)
		return;
	for (line = strtok_r((char *)file.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *path = strrchr(line, ':');

		if (!path || strcmp(path, ":/") == 0 || strncmp(path, ":/lazyrun/serve", 15) == 0)
			continue;
		if (strncmp(line, "0::", 3) == 0)
			move(unified, "cgroup.procs");
		else if (strstr(line, ":name=systemd:"))
			move(named, "tasks"); /* cgroup.procs would wait for a grace period */
	}
}
