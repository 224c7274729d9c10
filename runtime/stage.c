/* The order is init's (init.c), as far as it goes without a process of the container's. */
#include "runtime/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "runtime/mounts.h"
#include "runtime/rootfs.h"

static const struct kind {
	int flag;
	const char *name;
} kinds[STAGE_FDS] = {
	[STAGE_MOUNT] = {CLONE_NEWNS, "mnt"},
	[STAGE_IPC] = {CLONE_NEWIPC, "ipc"},
	[STAGE_UTS] = {CLONE_NEWUTS, "uts"},
};

uint64_t stage_namespaces(void)
{
	uint64_t all = 0;

	for (size_t i = 0; i < STAGE_FDS; i++)
		all |= (uint64_t)kinds[i].flag;
	return all;
}

void stage_free(struct stage *s)
{
	for (size_t i = 0; i < STAGE_FDS; i++)
		fd_close(&s->fds[i]);
}

int stage_open(pid_t pid, struct stage *ret)
{
	_cleanup_(stage_free) struct stage s = STAGE_NONE;

	for (size_t i = 0; i < STAGE_FDS; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, kinds[i].name);
		s.fds[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (s.fds[i] < 0)
			return -errno;
	}
	*ret = s;
	s = STAGE_NONE;
	return 0;
}

static int leave_the_host(void)
{
	umask(0);
	return unshare((int)stage_namespaces()) < 0 ? fail(errno, "making namespaces: %s", strerror(errno)) : 0;
}

int stage_make(const struct config *c)
{
	_cleanup_(fd_free_memory) int *trees = mounts_no_trees(c);
	_cleanup_(fd_close) int root_fd = -1;
	int r;

	if (!trees)
		return fail(ENOMEM, "out of memory");
	root_fd = rootfs_new(c);
	if (root_fd < 0)
		return root_fd;
	if ((r = mounts_prepare(c, MOUNTS_EARLY, trees)) < 0 || (r = leave_the_host()) < 0 ||
	    (r = rootfs_attach(root_fd)) < 0 || (r = mounts_attach_all(c, MOUNTS_EARLY, trees, NULL, root_fd)) < 0 ||
	    (r = rootfs_enter(root_fd)) < 0)
		return r;
	return 0;
}

int stage_enter(const struct stage *s)
{
	int root_fd;

	for (size_t i = 0; i < STAGE_FDS; i++)
		if (setns(s->fds[i], kinds[i].flag) < 0)
			return fail(errno, "entering the namespaces that were made beforehand: %s", strerror(errno));
	root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root_fd < 0 ? fail(errno, "the container's root: %s", strerror(errno)) : root_fd;
}
