/* Reads /proc/self/cgroup, makes two directories in some hierarchies, writes one 0 in each. */
#include "fs/scope.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

#define FILE_MAX (64u << 10)
#define OURS "lazyrun/serve"
#define PIDS_MAX "4096" /* threads of all servers of this host; one has a few hundred at most */

static bool move(int dir_fd, const char *file)
{
	_cleanup_(fd_close) int fd = openat(dir_fd, file, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, "0", 1) == 1;
}

/* Whoever takes the fetcher over makes no more of them. */
static void limit_pids(int dir_fd)
{
	_cleanup_(fd_close) int fd = openat(dir_fd, "pids.max", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, PIDS_MAX, sizeof(PIDS_MAX) - 1) < 0)
		return; /* it is one more wall, and no more than that */
}

/* Into OURS below `mount`/`above` (the first `size` bytes of a path). */
static bool move_below(const char *mount, const char *above, size_t size, const char *file)
{
	_cleanup_(fd_close) int above_fd = -1, ours_fd = -1;
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s%.*s", mount, (int)size, above) >= (int)sizeof(path))
		return false;
	above_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (above_fd < 0)
		return false;
	mkdirat(above_fd, "lazyrun", 0755);
	mkdirat(above_fd, OURS, 0755);
	ours_fd = openat(above_fd, OURS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ours_fd < 0)
		return false;
	limit_pids(ours_fd);
	return move(ours_fd, file);
}

/* As near to the root as we may: for root that is the root itself, for a user what systemd has delegated. */
static bool move_up(const char *mount, const char *path, const char *file)
{
	for (const char *end = path; end; end = strchr(end + 1, '/')) {
		if (move_below(mount, path, (size_t)(end - path), file))
			return true;
		if (strncmp(end + 1, OURS, sizeof(OURS) - 1) == 0)
			return true; /* we are there already */
	}
	return false;
}

/* `hierarchy` is a controller of version 1, and no name of a unit: without limits in the root. */
static void leave_controllers(const char *hierarchy, size_t size)
{
	_cleanup_(fd_close) int root_fd = -1;
	char mount[PATH_MAX];

	if (snprintf(mount, sizeof(mount), "/sys/fs/cgroup/%.*s", (int)size, hierarchy) >= (int)sizeof(mount))
		return;
	root_fd = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd >= 0)
		move(root_fd, "tasks"); /* cgroup.procs would wait for a grace period */
}

/* One line: "NUMBER:HIERARCHY:PATH". */
static void leave_one(const char *line)
{
	const char *hierarchy = strchr(line, ':'), *path = hierarchy ? strchr(hierarchy + 1, ':') : NULL;

	if (!path || path[1] != '/')
		return;
	hierarchy++;
	if (strncmp(hierarchy, "pids:", 5) == 0)
		move_up("/sys/fs/cgroup/pids", path + 1, "tasks");
	if (path[2] == '\0' || path[2] == '\n' || strncmp(hierarchy, "pids:", 5) == 0)
		return;
	if (hierarchy == path) { /* version 2 alone, or beside version 1 */
		if (!move_up("/sys/fs/cgroup/unified", path + 1, "cgroup.procs"))
			move_up("/sys/fs/cgroup", path + 1, "cgroup.procs");
	} else if (strncmp(hierarchy, "name=systemd:", 13) == 0) {
		move_up("/sys/fs/cgroup/systemd", path + 1, "tasks");
	} else if (strncmp(hierarchy, "name=", 5) != 0) {
		leave_controllers(hierarchy, (size_t)(path - hierarchy));
	}
}

void scope_leave_starter(void)
{
	_cleanup_(bytes_free) struct bytes file = {0};
	char *line, *save = NULL;

	if (fd_read_file(AT_FDCWD, "/proc/self/cgroup", FILE_MAX, &file) < 0)
		return;
	for (line = strtok_r((char *)file.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		leave_one(line);
}
