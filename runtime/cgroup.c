/* Hierarchies are recognised by statfs, never by name: empty directories stand in for absent ones. */
#include "runtime/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "runtime/device_filter.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

/* Their groups need cpus and memory nodes written before anyone may join, and give nothing without limits. */
static const char *const skipped[] = {"cpuset", "net_cls", "net_prio", "net_cls,net_prio", "perf_event",
				      "hugetlb", "rdma", "misc"};

static bool is_skipped(const char *name)
{
	for (size_t i = 0; i < sizeof(skipped) / sizeof(skipped[0]); i++)
		if (strcmp(skipped[i], name) == 0)
			return true;
	return false;
}

static bool no_rights(int err)
{
	return err == EACCES || err == EPERM || err == EROFS;
}

/* Takes base_fd, the directory in which `path` is to be made. 0 without a hierarchy where we may not. */
static int add_hierarchy(struct cgroup *cg, int *base_fd, const char *name, bool v2, const char *path)
{
	struct cgroup_hierarchy *h = &cg->hierarchies[cg->n_hierarchies];
	const char *slash = strrchr(path, '/');
	char parent[128];

	if (cg->n_hierarchies == CGROUP_HIERARCHIES)
		return fail(EFBIG, "this host has more than %d cgroup hierarchies", CGROUP_HIERARCHIES);
	*h = (struct cgroup_hierarchy){.v2 = v2, .parent_fd = -1, .dir_fd = -1, .tasks_fd = -1, .view_fd = -1};
	snprintf(h->name, sizeof(h->name), "%s", name);
	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 0, path);
	snprintf(cg->leaf, sizeof(cg->leaf), "%s", slash ? slash + 1 : path);
	if (slash) {
		if (mkdirat(*base_fd, parent, 0755) < 0 && errno != EEXIST)
			return no_rights(errno) ? 0 : fail(errno, "making cgroup %s/%s/%s: %s", CGROUP_ROOT, name,
							   parent, strerror(errno));
		h->parent_fd = openat(*base_fd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (h->parent_fd < 0)
			return no_rights(errno) ? 0 : fail(errno, "opening cgroup %s/%s/%s: %s", CGROUP_ROOT, name,
							   parent, strerror(errno));
	} else {
		h->parent_fd = TAKE_FD(*base_fd);
	}
	if (mkdirat(h->parent_fd, cg->leaf, 0755) < 0 && errno != EEXIST) {
		int err = errno;

		fd_close(&h->parent_fd);
		return no_rights(err) ? 0 : fail(err, "making cgroup %s/%s/%s: %s", CGROUP_ROOT, name, path,
						 strerror(err));
	}
	cg->n_hierarchies++; /* from here on cgroup_remove() knows it */
	h->dir_fd = openat(h->parent_fd, cg->leaf, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (h->dir_fd >= 0 && !v2)
		h->tasks_fd = openat(h->dir_fd, "tasks", O_WRONLY | O_CLOEXEC);
	if (h->dir_fd >= 0)
		h->view_fd = open_tree(h->dir_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (h->view_fd < 0 || (!v2 && h->tasks_fd < 0))
		return fail(errno, "opening cgroup %s/%s/%s: %s", CGROUP_ROOT, name, path, strerror(errno));
	return 0;
}

/* Our own v2 group, where an ordinary user may have been given rights (systemd's Delegate=). */
static int open_own_v2(int root_fd, int *ret)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	const char *line;
	char path[512];

	if (fd_read_file(AT_FDCWD, "/proc/self/cgroup", 64 << 10, &b) < 0)
		return -ENOENT;
	line = strstr((const char *)b.data, "0::/");
	if (!line || (line != (const char *)b.data && line[-1] != '\n'))
		return -ENOENT;
	snprintf(path, sizeof(path), "./%.*s", (int)strcspn(line + 4, "\n"), line + 4);
	*ret = openat(root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret < 0 ? -errno : 0;
}

static int add_v2(struct cgroup *cg, int root_fd, const char *name, const char *path)
{
	_cleanup_(fd_close) int base_fd = dup(root_fd), own_fd = -1;
	size_t before = cg->n_hierarchies;
	const char *slash = strrchr(path, '/');
	char leaf[128];
	int r;

	if (base_fd < 0)
		return fail(errno, "dup: %s", strerror(errno));
	r = add_hierarchy(cg, &base_fd, name, true, path);
	if (r < 0 || cg->n_hierarchies > before || geteuid() == 0)
		return r;
	if (open_own_v2(root_fd, &own_fd) < 0)
		return 0;
	snprintf(leaf, sizeof(leaf), "lazyrun-%s", slash ? slash + 1 : path);
	return add_hierarchy(cg, &own_fd, name, true, leaf);
}

static int add_all_v1(struct cgroup *cg, int root_fd, const char *path)
{
	int list_fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);
	struct dirent *d;
	int r = 0;

	if (!dir)
		return fail(errno, "reading " CGROUP_ROOT ": %s", strerror(errno));
	while (r == 0 && (d = readdir(dir))) {
		_cleanup_(fd_close) int fd = -1;
		struct statfs fs;

		/* symbolic links ("cpu" -> "cpu,cpuacct") are second names */
		if (d->d_name[0] == '.' || d->d_type != DT_DIR || is_skipped(d->d_name))
			continue;
		fd = openat(root_fd, d->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 || fstatfs(fd, &fs) < 0)
			continue;
		if (fs.f_type == CGROUP2_SUPER_MAGIC)
			r = add_v2(cg, fd, d->d_name, path);
		else if (fs.f_type == CGROUP_SUPER_MAGIC)
			r = add_hierarchy(cg, &fd, d->d_name, false, path);
	}
	closedir(dir);
	return r;
}

static int guard_devices(struct cgroup *cg)
{
	for (size_t i = 0; i < cg->n_hierarchies; i++)
		if (strcmp(cg->hierarchies[i].name, "devices") == 0) {
			cg->devices_guarded = true;
			return device_filter_v1(cg->hierarchies[i].dir_fd);
		}
	for (size_t i = 0; i < cg->n_hierarchies; i++)
		if (cg->hierarchies[i].v2) {
			cg->devices_guarded = true;
			return device_filter_v2(cg->hierarchies[i].dir_fd);
		}
	return 0;
}

int cgroup_create(const char *path, bool all_devices, struct cgroup **ret)
{
	_cleanup_(fd_close) int root_fd = open(CGROUP_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(cgroup_free) struct cgroup *cg = calloc(1, sizeof(*cg));
	struct statfs fs;
	int r = 0;

	if (!cg)
		return fail(ENOMEM, "out of memory");
	if (root_fd >= 0 && fstatfs(root_fd, &fs) == 0)
		r = fs.f_type == CGROUP2_SUPER_MAGIC ? add_v2(cg, root_fd, "", path)
						     : add_all_v1(cg, root_fd, path);
	if (r == 0 && !all_devices)
		r = guard_devices(cg);
	if (r < 0) {
		cgroup_remove(cg);
		return r;
	}
	*ret = TAKE(cg);
	return 0;
}

void cgroup_free(struct cgroup **cg)
{
	if (!*cg)
		return;
	for (size_t i = 0; i < (*cg)->n_hierarchies; i++) {
		fd_close(&(*cg)->hierarchies[i].parent_fd);
		fd_close(&(*cg)->hierarchies[i].dir_fd);
		fd_close(&(*cg)->hierarchies[i].tasks_fd);
		fd_close(&(*cg)->hierarchies[i].view_fd);
	}
	fd_free_memory(cg);
}

int cgroup_clone_fd(const struct cgroup *cg)
{
	for (size_t i = 0; cg && i < cg->n_hierarchies; i++)
		if (cg->hierarchies[i].v2)
			return cg->hierarchies[i].dir_fd;
	return -1;
}

int cgroup_join(const struct cgroup *cg)
{
	for (size_t i = 0; cg && i < cg->n_hierarchies; i++)
		if (!cg->hierarchies[i].v2 && write(cg->hierarchies[i].tasks_fd, "0", 1) < 0)
			return fail(errno, "joining cgroup " CGROUP_ROOT "/%s/.../%s: %s", cg->hierarchies[i].name,
				    cg->leaf, strerror(errno));
	return 0;
}

void cgroup_remove(struct cgroup *cg)
{
	for (size_t i = 0; cg && i < cg->n_hierarchies; i++) {
		struct cgroup_hierarchy *h = &cg->hierarchies[i];

		fd_close(&h->tasks_fd);
		/* a process that is just ending may still be counted for an instant */
		for (int tries = 0; unlinkat(h->parent_fd, cg->leaf, AT_REMOVEDIR) < 0 && errno == EBUSY && tries < 50;
		     tries++)
			usleep(200u << (tries < 6 ? tries : 6));
	}
}

/* Is it gone? What we may not even look for was never ours. */
static bool remove_group(int dir_fd, const char *path)
{
	return unlinkat(dir_fd, path, AT_REMOVEDIR) == 0 || errno == ENOENT || errno == ENOTDIR || errno == EACCES;
}

bool cgroup_sweep(const char *path)
{
	_cleanup_(fd_close) int root_fd = open(CGROUP_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int list_fd = root_fd < 0 ? -1 : openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);
	struct dirent *d;
	bool gone;

	if (!dir)
		return true;
	gone = remove_group(root_fd, path);
	while ((d = readdir(dir))) {
		char below[600];

		if (d->d_name[0] == '.' || d->d_type != DT_DIR)
			continue;
		snprintf(below, sizeof(below), "%s/%s", d->d_name, path);
		gone = remove_group(root_fd, below) && gone;
	}
	closedir(dir);
	return gone;
}
