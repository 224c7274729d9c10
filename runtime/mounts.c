/* A mount is made detached, with its final flags, and appears in one step: no bind, no remount. */
#include "runtime/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "runtime/devices.h"
#include "runtime/mount_target.h"
#include "runtime/namespaces.h"

/* The kernel says what it dislikes through the context: "e overlay: ...". */
static int fail_context(int context_fd, int err, const char *type, const char *what)
{
	char said[256];
	ssize_t n = read(context_fd, said, sizeof(said) - 1);

	said[n > 0 ? n : 0] = '\0';
	said[strcspn(said, "\n")] = '\0';
	return fail(err, "mounting %s%s%s: %s%s%s", type, what ? ": " : "", what ? what : "", strerror(err),
		    n > 2 ? ": " : "", n > 2 ? said + 2 : "");
}

static int set_options(int context_fd, const char *type, const char *data)
{
	_cleanup_(fd_free_memory) char *copy = strdup(data);
	char *rest = copy;

	if (!copy)
		return fail(ENOMEM, "out of memory");
	for (char *key; (key = strsep(&rest, ","));) {
		char *value = strchr(key, '=');

		if (!*key)
			continue;
		if (value)
			*value++ = '\0';
		if (fsconfig(context_fd, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value, 0) < 0)
			return fail_context(context_fd, errno, type, key);
	}
	return 0;
}

int mounts_new(const char *type, const char *data, uint64_t attributes, bool optional)
{
	_cleanup_(fd_close) int context_fd = fsopen(type, FSOPEN_CLOEXEC);
	int fd, r;

	if (context_fd < 0)
		return optional && (errno == ENODEV || errno == EPERM)
			       ? -errno
			       : fail(errno, "mounting %s: %s", type, strerror(errno));
	if (fsconfig(context_fd, FSCONFIG_SET_STRING, "source", type, 0) < 0)
		return fail_context(context_fd, errno, type, "source");
	r = data ? set_options(context_fd, type, data) : 0;
	if (r < 0)
		return r;
	if (fsconfig(context_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return optional && errno == EPERM ? -EPERM : fail_context(context_fd, errno, type, NULL);
	fd = fsmount(context_fd, FSMOUNT_CLOEXEC, (unsigned int)attributes);
	if (fd < 0)
		return optional && errno == EPERM ? -EPERM : fail_context(context_fd, errno, type, NULL);
	return fd;
}

int mounts_clone(int dir_fd, const char *path, bool recursive, uint64_t attributes)
{
	const unsigned int depth = recursive ? AT_RECURSIVE : 0;
	struct mount_attr attr = {.attr_set = attributes, .propagation = MS_PRIVATE};
	_cleanup_(fd_close) int fd =
		open_tree(dir_fd, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | depth | (*path ? 0 : AT_EMPTY_PATH));

	if (fd < 0)
		return -errno;
	if (mount_setattr(fd, "", AT_EMPTY_PATH | depth, &attr, sizeof(attr)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int mounts_attach(int tree_fd, int target_fd)
{
	return move_mount(tree_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0 ? -errno
													     : 0;
}

static bool is(const struct config_mount *m, const char *type)
{
	return strcmp(m->type, type) == 0;
}

static int prepare_bind(struct config_mount *m)
{
	_cleanup_(fd_close) int fd = m->tree_fd >= 0 ? TAKE_FD(m->tree_fd)
						     : mounts_clone(AT_FDCWD, m->source, m->recursive, m->attributes);
	struct stat st;

	if (fd < 0)
		return fail(-fd, "volume %s: %s: %s", m->destination, m->source, strerror(-fd));
	if (fstat(fd, &st) < 0)
		return fail(errno, "volume %s: %s", m->destination, strerror(errno));
	m->file = !S_ISDIR(st.st_mode);
	return TAKE_FD(fd);
}

/* In a user namespace that does not own the network namespace, sysfs may not be mounted anew. */
static int prepare_sysfs(const struct config *c, const struct config_mount *m)
{
	int fd;

	if (!c->user_namespace || (c->namespaces & CLONE_NEWNET))
		return -1;
	fd = mounts_clone(AT_FDCWD, "/sys", true, m->attributes);
	return fd < 0 ? fail(-fd, "binding /sys: %s", strerror(-fd)) : fd;
}

int *mounts_no_trees(const struct config *c)
{
	int *trees = malloc((c->n_mounts + 1) * sizeof(*trees));

	for (size_t i = 0; trees && i < c->n_mounts; i++)
		trees[i] = -1;
	return trees;
}

static bool is_among(const struct config_mount *m, enum mounts_which which)
{
	return which == MOUNTS_ALL || m->early == (which == MOUNTS_EARLY);
}

int mounts_prepare(const struct config *c, enum mounts_which which, int *trees)
{
	for (size_t i = 0; i < c->n_mounts; i++) {
		struct config_mount *m = &c->mounts[i];

		if (!is_among(m, which))
			continue;
		if (is(m, "bind"))
			trees[i] = prepare_bind(m);
		else if (is(m, "sysfs"))
			trees[i] = prepare_sysfs(c, m);
		else if (is(m, "proc")) /* in a user namespace only where one is seen as a whole */
			trees[i] = mounts_new(m->type, m->data, m->attributes, m->optional);
		if (trees[i] < -1)
			return trees[i];
	}
	return 0;
}

/* Our own view of each hierarchy: its root is the container's group. */
static int attach_cgroups(const struct cgroup *cg, const struct config_mount *m, int target_fd)
{
	_cleanup_(fd_close) int top_fd = -1;
	struct mount_attr attr = {.attr_set = m->attributes, .propagation = MS_PRIVATE};
	int r;

	if (!cg || cg->n_hierarchies == 0)
		return 0;
	if (cg->hierarchies[0].name[0] == '\0') { /* v2 alone */
		r = mounts_attach(cg->hierarchies[0].view_fd, target_fd);
		return r == 0 && mount_setattr(cg->hierarchies[0].view_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0
			       ? -errno
			       : r;
	}
	top_fd = mounts_new("tmpfs", "mode=755", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, false);
	if (top_fd < 0)
		return top_fd;
	r = mounts_attach(top_fd, target_fd);
	for (size_t i = 0; i < cg->n_hierarchies && r == 0; i++) {
		const struct cgroup_hierarchy *h = &cg->hierarchies[i];

		if (mkdirat(top_fd, h->name, 0755) < 0 ||
		    move_mount(h->view_fd, "", top_fd, h->name, MOVE_MOUNT_F_EMPTY_PATH) < 0)
			r = -errno;
	}
	if (r == 0 && mount_setattr(top_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		r = -errno;
	return r;
}

/* As runc: a tmpfs without mode= takes the mode of the directory it covers. */
static int keep_mode(const struct config_mount *m, int tree_fd, int target_fd)
{
	struct stat st;

	if (m->data && strstr(m->data, "mode="))
		return 0;
	if (fstat(target_fd, &st) < 0 || fchmodat(tree_fd, ".", st.st_mode & 07777, 0) < 0)
		return -errno;
	return 0;
}

static int open_target(const struct config_mount *m, int root_fd)
{
	struct statfs fs;
	int fd;

	if (!is(m, "bind") && !(is(m, "tmpfs") && strncmp(m->destination, "/dev", 4) != 0)) {
		fd = mount_target_strict(root_fd, m->destination);
		return fd == -ELOOP || fd == -ENOTDIR
			       ? fail(EACCES, "the image has a symbolic link where %s must be a directory", m->destination)
			       : fd;
	}
	fd = mount_target_make(root_fd, m->destination, m->file);
	if (fd == -EISDIR || fd == -ENOTDIR)
		return fail(-fd, "volume %s: one of source and destination is a directory, the other a file",
			    m->destination);
	/* A volume over /proc could make LSM label writes vanish (CVE-2019-16884). */
	if (fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC) {
		close(fd);
		return fail(EACCES, "volume %s: nothing may be mounted in the container's /proc", m->destination);
	}
	return fd;
}

/* Without a range of groups the terminals' group has no number here. */
static int new_devpts(const struct config *c, const struct config_mount *m)
{
	_cleanup_(fd_free_memory) char *data = m->data ? strdup(m->data) : NULL;
	char *gid = data && c->user_namespace ? strstr(data, ",gid=") : NULL;

	if (gid && !namespaces_map_gid((uint32_t)strtoul(gid + 5, NULL, 10)))
		memmove(gid, gid + 1 + strcspn(gid + 1, ","), strlen(gid + 1 + strcspn(gid + 1, ",")) + 1);
	return mounts_new(m->type, data, m->attributes, m->optional);
}

/* The mounts below the fresh /dev find their names there, without a walk that makes them. */
static int make_names_in_dev(const struct config *c, int dev_fd)
{
	for (size_t i = 0; i < c->n_mounts; i++) {
		const char *name = c->mounts[i].destination;

		if (is(&c->mounts[i], "bind") || strncmp(name, "/dev/", 5) != 0 || !name[5] || strchr(name + 5, '/'))
			continue;
		if (mkdirat(dev_fd, name + 5, 0755) < 0 && errno != EEXIST)
			return fail(errno, "making %s: %s", name, strerror(errno));
	}
	return 0;
}

static int attach_one(const struct config *c, const struct config_mount *m, int *tree_fd, const struct cgroup *cg,
		      int root_fd)
{
	_cleanup_(fd_close) int target_fd = open_target(m, root_fd);
	int r;

	if (target_fd < 0)
		return report_any() ? target_fd
				    : fail(-target_fd, "mounting on %s: %s", m->destination, strerror(-target_fd));
	if (is(m, "cgroup")) {
		r = attach_cgroups(cg, m, target_fd);
	} else {
		if (*tree_fd < 0)
			*tree_fd = is(m, "devpts") ? new_devpts(c, m)
						   : mounts_new(m->type, m->data, m->attributes, m->optional);
		if (*tree_fd < 0)
			return m->optional && !report_any() ? 0 : *tree_fd;
		r = is(m, "tmpfs") ? keep_mode(m, *tree_fd, target_fd) : 0;
		if (r == 0)
			r = mounts_attach(*tree_fd, target_fd);
		if (r == 0 && is(m, "tmpfs") && strcmp(m->destination, "/dev") == 0)
			return (r = devices_make(c, *tree_fd)) < 0 ? r : make_names_in_dev(c, *tree_fd);
	}
	return r < 0 && !report_any() ? fail(-r, "mounting on %s: %s", m->destination, strerror(-r)) : r;
}

int mounts_attach_all(const struct config *c, enum mounts_which which, int *trees, const struct cgroup *cg, int root_fd)
{
	for (size_t i = 0; i < c->n_mounts; i++) {
		int r = is_among(&c->mounts[i], which) ? attach_one(c, &c->mounts[i], &trees[i], cg, root_fd) : 0;

		if (r < 0)
			return r;
		if (strcmp(c->mounts[i].destination, "/dev") != 0)
			fd_close(&trees[i]);
	}
	return 0;
}
