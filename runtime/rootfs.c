/* Everything below the root is reached from its descriptor. */
#include "runtime/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/report.h"
#include "runtime/devices.h"
#include "runtime/mounts.h"

static int fail_overlay(int context_fd, int err, const char *key)
{
	char said[256];
	ssize_t n = read(context_fd, said, sizeof(said) - 1);

	said[n > 0 ? n : 0] = '\0';
	said[strcspn(said, "\n")] = '\0';
	return fail(err, "mounting the overlay: %s: %s%s%s", key, strerror(err), n > 2 ? ": " : "",
		    n > 2 ? said + 2 : "");
}

static int fail_lower(const char *path)
{
	return fail(errno, "%s, the image's tree, cannot be opened: %s%s", path, strerror(errno),
		    errno == ENOTCONN || errno == ECONNABORTED ? ": its file server has ended" : "");
}

/* By descriptor since Linux 6.13; before, by its name in /proc/self/fd, which never needs escaping. */
static int set_directory(int context_fd, const char *key, const char *path)
{
	_cleanup_(fd_close) int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char name[64];

	if (fd < 0)
		return fail(errno, "%s: %s", path, strerror(errno));
	if (fsconfig(context_fd, FSCONFIG_SET_FD, key, NULL, fd) == 0)
		return 0;
	if (errno != EINVAL && errno != EBADF)
		return fail_overlay(context_fd, errno, key);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (fsconfig(context_fd, FSCONFIG_SET_STRING, key, name, 0) < 0)
		return fail_overlay(context_fd, errno, key);
	return 0;
}

/* Without "lowerdir+" (Linux 6.8): one string, for which every directory must stay open until it is read. */
static int set_lowers_joined(int context_fd, char **lowers)
{
	char joined[4096] = "";

	for (size_t i = 0; lowers[i]; i++) {
		int fd = open(lowers[i], O_PATH | O_DIRECTORY | O_CLOEXEC); /* closed by exec */
		size_t used = strlen(joined);

		if (fd < 0)
			return fail_lower(lowers[i]);
		if (snprintf(joined + used, sizeof(joined) - used, "%s/proc/self/fd/%d", i ? ":" : "", fd) >=
		    (int)(sizeof(joined) - used))
			return fail(E2BIG, "mounting the overlay: too many layers for this kernel");
	}
	return fsconfig(context_fd, FSCONFIG_SET_STRING, "lowerdir", joined, 0) < 0
		       ? fail_overlay(context_fd, errno, "lowerdir")
		       : 0;
}

/* The merged root shows the upper directory's own attributes, so it takes the image's. */
static int dress_upper(const struct config_overlay *o, int lower_fd)
{
	struct stat st;

	if (fstat(lower_fd, &st) < 0)
		return fail_lower(o->lowers[0]);
	if (chown(o->upper, st.st_uid, st.st_gid) < 0 || chmod(o->upper, st.st_mode & 07777) < 0)
		return fail(errno, "%s: %s", o->upper, strerror(errno));
	return 0;
}

static int set_lowers(int context_fd, const struct config_overlay *o)
{
	char **lowers = o->lowers;
	int r;

	for (size_t i = 0; lowers[i]; i++) {
		_cleanup_(fd_close) int fd = open(lowers[i], O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (fd < 0)
			return fail_lower(lowers[i]);
		r = i == 0 ? dress_upper(o, fd) : 0;
		if (r < 0)
			return r;
		if (fsconfig(context_fd, FSCONFIG_SET_FD, "lowerdir+", NULL, fd) == 0)
			continue;
		return i == 0 ? set_lowers_joined(context_fd, lowers) : fail_overlay(context_fd, errno, "lowerdir+");
	}
	return 0;
}

/* KERNEL.md F: xino keeps the tree one device; redirect_dir lets directories be renamed, metacopy lets
 * chown copy no data; both are refused with userxattr, which a user namespace needs. volatile: no
 * sync of the upper file system when the mount ends, for an upper that ends with it. */
static int set_overlay_options(int context_fd, const struct config *c)
{
	static const char *const pairs[][2] = {{"xino", "on"}, {"redirect_dir", "on"}, {"metacopy", "on"}};
	const size_t n = c->user_namespace ? 1 : 3;

	for (size_t i = 0; i < n; i++)
		if (fsconfig(context_fd, FSCONFIG_SET_STRING, pairs[i][0], pairs[i][1], 0) < 0)
			return fail_overlay(context_fd, errno, pairs[i][0]);
	if (c->user_namespace && fsconfig(context_fd, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) < 0)
		return fail_overlay(context_fd, errno, "userxattr");
	if (!c->overlay.keep_upper && fsconfig(context_fd, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0)
		return fail_overlay(context_fd, errno, "volatile");
	return 0;
}

static int new_overlay(const struct config *c)
{
	_cleanup_(fd_close) int context_fd = fsopen("overlay", FSOPEN_CLOEXEC);
	int fd, r;

	if (context_fd < 0)
		return fail(errno, "mounting the overlay: %s; is the kernel's overlay module there?", strerror(errno));
	if ((r = set_lowers(context_fd, &c->overlay)) < 0 ||
	    (r = set_directory(context_fd, "upperdir", c->overlay.upper)) < 0 ||
	    (r = set_directory(context_fd, "workdir", c->overlay.work)) < 0 ||
	    (r = set_overlay_options(context_fd, c)) < 0)
		return r;
	if (fsconfig(context_fd, FSCONFIG_SET_STRING, "source", "lazyrun", 0) < 0 ||
	    fsconfig(context_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return fail_overlay(context_fd, errno, "create");
	fd = fsmount(context_fd, FSMOUNT_CLOEXEC, 0);
	return fd < 0 ? fail_overlay(context_fd, errno, "fsmount") : fd;
}

int rootfs_new(const struct config *c)
{
	int fd = c->rootfs ? mounts_clone(AT_FDCWD, c->rootfs, true, 0) : new_overlay(c);

	return fd < 0 && c->rootfs ? fail(-fd, "root %s: %s", c->rootfs, strerror(-fd)) : fd;
}

int rootfs_attach(int root_fd)
{
	struct mount_attr private = {.propagation = MS_PRIVATE};

	/* Nothing we mount may travel to the host, nothing of the host's to us. */
	if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &private, sizeof(private)) < 0)
		return fail(errno, "making the mount namespace private: %s", strerror(errno));
	if (move_mount(root_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return fail(errno, "attaching the root: %s", strerror(errno));
	return 0;
}

/* One empty tmpfs covers all masked directories, one view of /dev/null all masked files. */
struct masks {
	int root_fd, directory_fd, null_fd;
};

static int open_null(struct masks *m)
{
	int r;

	if (m->null_fd >= 0)
		return 0;
	m->null_fd = beneath_root_open(m->root_fd, "/dev/null", O_PATH | O_NOFOLLOW, 0);
	r = m->null_fd < 0 ? m->null_fd : devices_check_null(m->null_fd);
	return r < 0 ? fail(-r, "the container's /dev/null is not the null device") : 0;
}

static int mask(struct masks *m, const char *path)
{
	_cleanup_(fd_close) int target_fd = beneath_root_open(m->root_fd, path, O_PATH, 0), tree_fd = -1;
	struct stat st;
	int r;

	if (target_fd < 0)
		return target_fd == -ENOENT || target_fd == -ENOTDIR ? 0 : target_fd;
	if (fstat(target_fd, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode)) {
		r = open_null(m);
		if (r < 0)
			return r;
		tree_fd = open_tree(m->null_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	} else if (m->directory_fd >= 0) {
		tree_fd = open_tree(m->directory_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	} else {
		m->directory_fd = mounts_new("tmpfs", "nr_blocks=1,nr_inodes=1",
					     MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
					     false);
		return m->directory_fd < 0 ? m->directory_fd : mounts_attach(m->directory_fd, target_fd);
	}
	return tree_fd < 0 ? -errno : mounts_attach(tree_fd, target_fd);
}

static int protect(int root_fd, const char *path)
{
	_cleanup_(fd_close) int target_fd = beneath_root_open(root_fd, path, O_PATH, 0), tree_fd = -1;

	if (target_fd < 0)
		return target_fd == -ENOENT || target_fd == -ENOTDIR ? 0 : target_fd;
	tree_fd = mounts_clone(target_fd, "", true, MOUNT_ATTR_RDONLY);
	return tree_fd < 0 ? tree_fd : mounts_attach(tree_fd, target_fd);
}

int rootfs_protect(const struct config *c, int root_fd)
{
	struct masks m = {.root_fd = root_fd, .directory_fd = -1, .null_fd = -1};
	struct mount_attr readonly = {.attr_set = MOUNT_ATTR_RDONLY};
	int r = 0;

	for (char **p = c->readonly_paths; p && *p && r == 0; p++) {
		r = protect(root_fd, *p);
		if (r < 0 && !report_any())
			fail(-r, "making %s read-only: %s", *p, strerror(-r));
	}
	for (char **p = c->masked_paths; p && *p && r == 0; p++) {
		r = mask(&m, *p);
		if (r < 0 && !report_any())
			fail(-r, "masking %s: %s", *p, strerror(-r));
	}
	fd_close(&m.directory_fd);
	fd_close(&m.null_fd);
	if (r == 0 && c->root_readonly && mount_setattr(root_fd, "", AT_EMPTY_PATH, &readonly, sizeof(readonly)) < 0)
		return fail(errno, "making the root read-only: %s", strerror(errno));
	return r;
}

int rootfs_enter(int root_fd)
{
	/* With both names ".", the old root lies on top of the new one and is taken off at once. */
	if (fchdir(root_fd) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
	    chdir("/") < 0)
		return fail(errno, "entering the root: %s", strerror(errno));
	return 0;
}
