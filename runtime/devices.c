/* The tmpfs was made by us an instant ago and nobody else has seen it, so names in it are safe. */
#include "runtime/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "runtime/mounts.h"

static const struct device {
	const char *name;
	unsigned int major, minor;
} nodes[] = {
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
};

static const struct link {
	const char *name, *target;
} links[] = {
	{"fd", "/proc/self/fd"},     {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},	     {"core", "/proc/kcore"},
};

static int check(int fd, const struct device *d)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return S_ISCHR(st.st_mode) && st.st_rdev == makedev(d->major, d->minor) ? 0 : -ENODEV;
}

/* The host's own node, seen through a file of ours. Init still sees the host's /dev by its name. */
static int bind_node(int dev_fd, const struct device *d)
{
	_cleanup_(fd_close) int host_fd = -1, tree_fd = -1, target_fd = -1;
	char path[32];
	int r;

	snprintf(path, sizeof(path), "/dev/%s", d->name);
	host_fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (host_fd < 0)
		return -errno;
	r = check(host_fd, d);
	if (r < 0)
		return r;
	tree_fd = mounts_clone(host_fd, "", false, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	if (tree_fd < 0)
		return tree_fd;
	target_fd = openat(dev_fd, d->name, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (target_fd < 0)
		return -errno;
	return mounts_attach(tree_fd, target_fd);
}

int devices_make(const struct config *c, int dev_fd)
{
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		const struct device *d = &nodes[i];
		int r = 0;

		if (c->user_namespace)
			r = bind_node(dev_fd, d);
		else if (mknodat(dev_fd, d->name, S_IFCHR | 0666, makedev(d->major, d->minor)) < 0)
			r = -errno;
		if (r < 0)
			return fail(-r, "making /dev/%s: %s", d->name, strerror(-r));
	}
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (symlinkat(links[i].target, dev_fd, links[i].name) < 0)
			return fail(errno, "making /dev/%s: %s", links[i].name, strerror(errno));
	return 0;
}

int devices_check_null(int fd)
{
	return check(fd, &nodes[0]);
}

int devices_bind_console(int dev_fd, int slave_fd)
{
	_cleanup_(fd_close) int tree_fd = -1, target_fd = -1;
	int r;

	tree_fd = mounts_clone(slave_fd, "", false, 0);
	if (tree_fd < 0)
		return fail(-tree_fd, "binding /dev/console: %s", strerror(-tree_fd));
	target_fd = openat(dev_fd, "console", O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, 0600);
	if (target_fd < 0)
		return fail(errno, "making /dev/console: %s", strerror(errno));
	r = mounts_attach(tree_fd, target_fd);
	return r < 0 ? fail(-r, "mounting /dev/console: %s", strerror(-r)) : 0;
}
