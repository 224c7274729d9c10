/* The directory containers/ is locked while one is made, so that a sweep never meets a half-made one. */
#include "cli/container_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "runtime/cgroup.h"
#include "runtime/mounts.h"

const char *const container_dir_file_names[CONTAINER_DIR_FILES] = {"hosts", "hostname", "resolv.conf"};

static int new_id(char id[static 65])
{
	uint8_t random[32];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return fail(EIO, "getrandom: %s", strerror(errno));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(id + 2 * i, 3, "%02x", random[i]);
	return 0;
}

/* Removes what nobody holds. Failures are the next start's. */
static void sweep(int directory_fd)
{
	int list_fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = list_fd >= 0 ? fdopendir(list_fd) : NULL;
	struct dirent *d;

	if (!dir) {
		fd_close(&list_fd);
		return;
	}
	while ((d = readdir(dir))) {
		_cleanup_(fd_close) int fd = -1;
		char cgroup[300];

		if (d->d_name[0] == '.')
			continue;
		fd = openat(directory_fd, d->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
			continue;
		snprintf(cgroup, sizeof(cgroup), "lazyrun/%s", d->d_name);
		cgroup_sweep(cgroup); /* its command was killed before it could */
		fd_remove_tree(directory_fd, d->d_name);
	}
	closedir(dir);
}

/* Made under another name, so that it is there as a whole or not at all. */
static int make_below(int store_fd)
{
	static const char *const directories[] = {"dev", "etc", "proc", "sys"};
	_cleanup_(fd_close) int fd = fd_open_dir(store_fd, ".below", true), etc_fd = -1;
	int r = fd < 0 || fchmod(fd, 0755) < 0 ? -errno : 0;

	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]) && r == 0; i++)
		if ((mkdirat(fd, directories[i], 0755) < 0 && errno != EEXIST) ||
		    fchmodat(fd, directories[i], 0755, 0) < 0)
			r = -errno;
	etc_fd = r == 0 ? fd_open_dir(fd, "etc", false) : -1;
	for (size_t i = 0; i < CONTAINER_DIR_FILES && r == 0; i++) {
		_cleanup_(fd_close) int file_fd =
			openat(etc_fd, container_dir_file_names[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

		if (file_fd < 0 || fchmod(file_fd, 0644) < 0)
			r = -errno;
	}
	if (r == 0 && renameat(store_fd, ".below", store_fd, "below") < 0)
		r = -errno;
	return r;
}

static int open_below(struct container_dir *d, const char *store_path)
{
	int r = 0;

	if (faccessat(d->store_fd, "below", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		r = errno == ENOENT ? make_below(d->store_fd) : -errno;
	if (r < 0)
		return fail(-r, "making %s/below: %s", store_path, strerror(-r));
	if (asprintf(&d->below, "%s/below", store_path) < 0) {
		d->below = NULL;
		return fail(ENOMEM, "out of memory");
	}
	return 0;
}

static int make_upper(struct container_dir *d, const char *kept)
{
	const char *base = kept ? kept : d->path;

	d->keep_upper = kept != NULL;
	if (kept && mkdir(kept, 0700) < 0 && errno != EEXIST)
		return fail(errno, "run: --upper %s: %s", kept, strerror(errno));
	if (asprintf(&d->upper, "%s/upper", base) < 0)
		d->upper = NULL;
	if (asprintf(&d->work, "%s/work", base) < 0)
		d->work = NULL;
	if (!d->upper || !d->work)
		return fail(ENOMEM, "out of memory");
	if ((mkdir(d->upper, 0700) < 0 || mkdir(d->work, 0700) < 0) && (errno != EEXIST || !kept))
		return fail(errno, "making %s: %s", d->upper, strerror(errno));
	return 0;
}

static int make(struct container_dir *d, const char *store_path, const char *kept)
{
	int r = new_id(d->id);

	if (r < 0)
		return r;
	if (asprintf(&d->path, "%s/containers/%s", store_path, d->id) < 0) {
		d->path = NULL;
		return fail(ENOMEM, "out of memory");
	}
	d->dir_fd = fd_open_dir(d->parent_fd, d->id, true);
	if (d->dir_fd < 0)
		return fail(-d->dir_fd, "making %s: %s", d->path, strerror(-d->dir_fd));
	if (flock(d->dir_fd, LOCK_EX) < 0) /* nobody has it for longer than a look (fetch/users.c) */
		return fail(errno, "locking %s: %s", d->path, strerror(errno));
	r = open_below(d, store_path);
	return r < 0 ? r : make_upper(d, kept);
}

/* By its path: who joined other namespaces sees the store through another mount. */
static int open_places(struct container_dir *d, const char *store_path)
{
	d->store_fd = open(store_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->store_fd < 0)
		return fail(errno, "%s: %s", store_path, strerror(errno));
	d->parent_fd = fd_open_dir(d->store_fd, "containers", true);
	d->removed_fd = d->parent_fd < 0 ? d->parent_fd : fd_open_dir(d->store_fd, "removed", true);
	return d->removed_fd < 0 ? fail(-d->removed_fd, "%s/containers: %s", store_path, strerror(-d->removed_fd)) : 0;
}

int container_dir_new(const char *store_path, const char *kept, struct container_dir **ret)
{
	_cleanup_(container_dir_free) struct container_dir *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return fail(ENOMEM, "out of memory");
	d->dir_fd = d->store_fd = d->parent_fd = d->removed_fd = -1;
	r = open_places(d, store_path);
	if (r < 0)
		return r;
	if (flock(d->parent_fd, LOCK_EX) < 0)
		return fail(errno, "%s/containers: %s", store_path, strerror(errno));
	sweep(d->parent_fd);
	sweep(d->removed_fd);
	r = make(d, store_path, kept);
	flock(d->parent_fd, LOCK_UN);
	if (r < 0)
		return r;
	*ret = TAKE(d);
	return 0;
}

static void close_all_but(int a, int b)
{
	unsigned int first = (unsigned int)(a < b ? a : b), second = (unsigned int)(a < b ? b : a);

	if (first > 0)
		close_range(0, first - 1, 0);
	if (first + 1 < second)
		close_range(first + 1, second - 1, 0);
	close_range(second + 1, ~0u, 0);
}

/* Freeing directories can mean waiting for the disk (discard mounts), so the command only takes it out of containers/,
 * and a process of its own removes it. It holds the lock by inheritance; if it is killed, the next start sweeps. */
static void remove_behind(const struct container_dir *d)
{
	pid_t pid;

	if (renameat(d->parent_fd, d->id, d->removed_fd, d->id) < 0)
		return;
	pid = fork();
	if (pid > 0)
		return;
	if (pid == 0) {
		/* Nobody may take us for the command: no output and no connection held open, no session, no directory. */
		close_all_but(d->dir_fd, d->removed_fd);
		setsid();
		if (chdir("/") < 0)
			_exit(1);
	}
	fd_remove_tree(d->removed_fd, d->id);
	if (pid == 0)
		_exit(0);
}

void container_dir_free(struct container_dir **d)
{
	if (!*d)
		return;
	if ((*d)->dir_fd >= 0)
		remove_behind(*d);
	fd_close(&(*d)->dir_fd);
	fd_close(&(*d)->store_fd);
	fd_close(&(*d)->parent_fd);
	fd_close(&(*d)->removed_fd);
	free((*d)->path);
	free((*d)->below);
	free((*d)->upper);
	free((*d)->work);
	fd_free_memory(d);
}

int container_dir_set_image(const struct container_dir *d, const char *image_key)
{
	int r = fd_write_file(d->dir_fd, "image", image_key, strlen(image_key), 0600);

	return r < 0 ? fail(-r, "writing %s/image: %s", d->path, strerror(-r)) : 0;
}

static int write_file(int dir_fd, const char *name, const struct bytes *b)
{
	_cleanup_(fd_close) int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	int r = fd < 0 ? -errno : fd_write_full(fd, b->data, b->size);

	if (r == 0 && fchmod(fd, 0644) < 0) /* whatever our umask is */
		r = -errno;
	return r < 0 ? fail(-r, "writing the container's /etc/%s: %s", name, strerror(-r)) : 0;
}

/* The host's network has the host's names. */
static int fill_hosts(struct bytes *hosts, const char *hostname, bool own_network)
{
	int r = 0;

	if (own_network || fd_read_file(AT_FDCWD, "/etc/hosts", 1 << 20, hosts) < 0)
		r = bytes_printf(hosts, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
					"fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\n"
					"ff02::2\tip6-allrouters\n");
	if (r == 0 && hosts->size > 0 && hosts->data[hosts->size - 1] != '\n')
		r = bytes_append(hosts, "\n", 1);
	return r == 0 ? bytes_printf(hosts, "127.0.1.1\t%s\n", hostname) : r;
}

static void fill_resolv(struct bytes *resolv)
{
	_cleanup_(fd_close) int fd = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* often a link */
	ssize_t n;

	while (fd >= 0 && resolv->size < (1 << 20) && bytes_reserve(resolv, 4096) == 0 &&
	       (n = read(fd, resolv->data + resolv->size, 4096)) > 0)
		resolv->size += (size_t)n;
}

/* In memory: nothing to write to a disk and to remove from it at each start. */
static int open_memory(int *ret_probe)
{
	int fd = mounts_new("tmpfs", "mode=755", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, false);

	*ret_probe = fd < 0 ? -1 : mounts_clone(fd, "", false, 0);
	return fd;
}

int container_dir_files(const struct container_dir *d, const char *hostname, bool own_network,
			int ret_trees[static CONTAINER_DIR_FILES])
{
	_cleanup_(bytes_free) struct bytes hosts = {0}, resolv = {0}, name = {0};
	const struct bytes *const contents[CONTAINER_DIR_FILES] = {&hosts, &name, &resolv};
	_cleanup_(fd_close) int probe_fd = -1, memory_fd = open_memory(&probe_fd);
	/* A part of a detached mount can be cloned since Linux 6.15; before, the files lie on the disk. */
	int dir_fd = probe_fd >= 0 ? memory_fd : d->dir_fd, r;

	if (memory_fd < 0)
		return memory_fd;
	r = fill_hosts(&hosts, hostname, own_network);
	if (r == 0)
		r = bytes_printf(&name, "%s\n", hostname);
	if (r < 0)
		return fail(ENOMEM, "out of memory");
	if (!own_network)
		fill_resolv(&resolv);
	for (size_t i = 0; i < CONTAINER_DIR_FILES && r == 0; i++)
		r = write_file(dir_fd, container_dir_file_names[i], contents[i]);
	for (size_t i = 0; i < CONTAINER_DIR_FILES && r == 0; i++) {
		ret_trees[i] = mounts_clone(dir_fd, container_dir_file_names[i], false, 0);
		if (ret_trees[i] < 0)
			r = fail(-ret_trees[i], "/etc/%s: %s", container_dir_file_names[i], strerror(-ret_trees[i]));
	}
	return r;
}
