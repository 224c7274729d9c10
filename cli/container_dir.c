/* The directory containers/ is locked while one is made, so that a sweep never meets a half-made one. */
#include "cli/container_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "cache/number_table.h"
#include "cli/spare.h"
#include "runtime/cgroup.h"
#include "runtime/mounts.h"

#define IMAGE_SIZE (IMAGE_KEY_SIZE - 1) /* of the file "image": a key, or zeros */

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
		if (cgroup_sweep(cgroup)) /* its command was killed before it could */
			fd_remove_tree(directory_fd, d->d_name);
	}
	closedir(dir);
}

static void sweep_all(const struct container_dir *d)
{
	sweep(d->parent_fd);
	sweep(d->removed_fd);
}

static int make_upper(struct container_dir *d, const char *kept)
{
	const char *base = kept ? kept : d->path;

	fd_free_memory(&d->upper);
	fd_free_memory(&d->work);
	d->keep_upper = kept != NULL;
	if (kept && mkdir(kept, 0700) < 0 && errno != EEXIST)
		return fail(errno, "run: --upper %s: %s", kept, strerror(errno));
	if (asprintf(&d->upper, "%s/upper", base) < 0)
		d->upper = NULL;
	if (asprintf(&d->work, "%s/work", base) < 0)
		d->work = NULL;
	if (!d->upper || !d->work)
		return fail(ENOMEM, "out of memory");
	if ((mkdir(d->upper, 0700) < 0 && errno != EEXIST) || (mkdir(d->work, 0700) < 0 && errno != EEXIST))
		return fail(errno, "making %s: %s", d->upper, strerror(errno));
	return 0;
}

static int set_path(struct container_dir *d, const char *parent)
{
	free(d->path);
	if (asprintf(&d->path, "%s/%s/%s", d->store_path, parent, d->id) < 0)
		d->path = NULL;
	return d->path ? 0 : fail(ENOMEM, "out of memory");
}

static int make(struct container_dir *d, const char *kept, const struct bytes *facts)
{
	int r = new_id(d->id);
	bool taken = r == 0 && spare_take(d, facts, d->id, &d->keeper_fd);

	if (r == 0)
		r = set_path(d, "containers");
	if (r < 0)
		return r;
	d->dir_fd = fd_open_dir(d->parent_fd, d->id, !taken);
	if (d->dir_fd < 0)
		return fail(-d->dir_fd, "making %s: %s", d->path, strerror(-d->dir_fd));
	if (flock(d->dir_fd, LOCK_EX) < 0) /* nobody has it for longer than a look (fetch/users.c) */
		return fail(errno, "locking %s: %s", d->path, strerror(errno));
	return make_upper(d, kept);
}

/* By its path: who joined other namespaces sees the store through another mount. */
static int open_places(struct container_dir *d, const char *store_path)
{
	d->store_path = store_path;
	d->dir_fd = d->store_fd = d->parent_fd = d->removed_fd = d->memory_fd = d->keeper_fd = -1;
	d->store_fd = open(store_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->store_fd < 0)
		return fail(errno, "%s: %s", store_path, strerror(errno));
	d->parent_fd = fd_open_dir(d->store_fd, "containers", true);
	d->removed_fd = d->parent_fd < 0 ? d->parent_fd : fd_open_dir(d->store_fd, "removed", true);
	if (d->removed_fd < 0)
		return fail(-d->removed_fd, "%s/containers: %s", store_path, strerror(-d->removed_fd));
	return flock(d->parent_fd, LOCK_EX) < 0 ? fail(errno, "%s/containers: %s", store_path, strerror(errno)) : 0;
}

int container_dir_new(const char *store_path, const char *kept, const struct bytes *facts, struct container_dir **ret)
{
	_cleanup_(container_dir_free) struct container_dir *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return fail(ENOMEM, "out of memory");
	r = open_places(d, store_path);
	if (r < 0)
		return r;
	if (!spare_is_there(d)) /* who left one has swept */
		sweep_all(d);
	r = make(d, kept, facts);
	flock(d->parent_fd, LOCK_UN);
	if (r < 0)
		return r;
	*ret = TAKE(d);
	return 0;
}

#define N_KEPT 8

/* -1 in `keep` is none. */
static void close_all_but(const int keep[static N_KEPT])
{
	for (unsigned int from = 0;;) {
		unsigned int next = ~0u;

		for (size_t i = 0; i < N_KEPT; i++)
			if (keep[i] >= 0 && (unsigned int)keep[i] >= from && (unsigned int)keep[i] < next)
				next = (unsigned int)keep[i];
		if (next > from)
			close_range(from, next == ~0u ? next : next - 1, 0);
		if (next == ~0u)
			return;
		from = next + 1;
	}
}

/* Making directories on a disk takes a start's time, too: so an emptied one gets fresh parts, and is the next start's.
 * The file "image" stays, with zeros, which say nothing. Nothing of the old upper directory does: not its attributes. */
static bool make_fresh(int fd)
{
	_cleanup_(fd_close) int image_fd = openat(fd, "image", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	const char nothing[IMAGE_SIZE] = "";
	static const char *const parts[] = {"upper", "work", "hosts", "hostname", "resolv.conf", "facts", "keeper"};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (fd_remove_tree(fd, parts[i]) < 0)
			return false;
	return image_fd >= 0 && fd_pwrite_full(image_fd, nothing, sizeof(nothing), 0) == 0 &&
	       mkdirat(fd, "upper", 0700) == 0 && mkdirat(fd, "work", 0700) == 0;
}

/* With an id of its own. */
static bool make_next(struct container_dir *d)
{
	char old[sizeof(d->id)];

	memcpy(old, d->id, sizeof(old));
	return new_id(d->id) == 0 && renameat(d->removed_fd, old, d->removed_fd, d->id) == 0 &&
	       set_path(d, "removed") == 0 && make_upper(d, NULL) == 0;
}

/* Removes what the command has put into removed/. One that was killed has put nothing there: its lock, which is ours as
 * well, goes with us, and the next start sweeps. True: `d` is the next one's. */
static bool remove_removed(struct container_dir *d)
{
	if (faccessat(d->removed_fd, d->id, F_OK, AT_SYMLINK_NOFOLLOW) < 0 || flock(d->parent_fd, LOCK_EX) < 0)
		return false;
	sweep_all(d);
	flock(d->parent_fd, LOCK_UN);
	if (!spare_is_there(d) && make_fresh(d->dir_fd) && make_next(d))
		return true;
	fd_remove_tree(d->removed_fd, d->id);
	return false;
}

static void be_remover(struct container_dir *d, int left_fd, int kept_fd, int command_fd)
{
	struct pollfd command = {.fd = command_fd, .events = POLLIN};
	static char said[REPORT_TEXT_SIZE];

	/* Nobody may take us for the command: no output and no connection held open, no session, no working directory. */
	report_capture(said);
	close_all_but((const int[N_KEPT]){d->store_fd, d->parent_fd, d->removed_fd, d->dir_fd, d->memory_fd, left_fd,
					  kept_fd, command_fd});
	prctl(PR_SET_NAME, "lazyrun-remove");
	setsid();
	/* Who waits for the command waits for all that it frees: what it left is freed when it is gone. */
	if (chdir("/") < 0 || poll(&command, 1, -1) != 1)
		_exit(1);
	fd_close(&left_fd);
	fd_close(&d->memory_fd);
	if (!remove_removed(d))
		_exit(0);
}

pid_t container_dir_leave(struct container_dir *d, int left_fd, int kept_fd)
{
	_cleanup_(fd_close) int command_fd = pidfd_open(getpid(), 0);
	pid_t pid = command_fd < 0 || d->left ? -1 : fork();

	if (pid == 0)
		be_remover(d, left_fd, kept_fd, command_fd);
	d->left = d->left || pid > 0;
	return pid;
}

void container_dir_end(const struct container_dir *d, bool fresh)
{
	if (!fresh || !spare_put(d))
		fd_remove_tree(d->removed_fd, d->id);
	_exit(0);
}

static void leave(struct container_dir *d)
{
	if (container_dir_leave(d, -1, -1) == 0)
		container_dir_end(d, false);
	if (renameat(d->parent_fd, d->id, d->removed_fd, d->id) < 0 || d->left)
		return;
	fd_close(&d->memory_fd);
	fd_remove_tree(d->removed_fd, d->id);
}

void container_dir_free(struct container_dir **d)
{
	if (!*d)
		return;
	if ((*d)->dir_fd >= 0)
		leave(*d);
	fd_close(&(*d)->dir_fd);
	fd_close(&(*d)->store_fd);
	fd_close(&(*d)->parent_fd);
	fd_close(&(*d)->removed_fd);
	fd_close(&(*d)->memory_fd);
	fd_close(&(*d)->keeper_fd);
	free((*d)->path);
	free((*d)->upper);
	free((*d)->work);
	fd_free_memory(d);
}

int container_dir_set_image(const struct container_dir *d, const char *image_key)
{
	_cleanup_(fd_close) int fd = openat(d->dir_fd, "image", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	const size_t size = strlen(image_key);
	/* In place, because ext4 writes out at once what was truncated or replaced. */
	int r = fd < 0 ? -errno : size != IMAGE_SIZE ? -EINVAL : fd_pwrite_full(fd, image_key, size, 0);

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

static int make_files(int dir_fd, const struct bytes *const contents[], int ret_trees[static CONTAINER_DIR_FILES])
{
	for (size_t i = 0; i < CONTAINER_DIR_FILES; i++) {
		int r = write_file(dir_fd, container_dir_file_names[i], contents[i]);

		if (r < 0)
			return r;
		ret_trees[i] = mounts_clone(dir_fd, container_dir_file_names[i], false, 0);
		if (ret_trees[i] < 0)
			return ret_trees[i];
	}
	return 0;
}

int container_dir_files(struct container_dir *d, const char *hostname, bool own_network,
			int ret_trees[static CONTAINER_DIR_FILES])
{
	_cleanup_(bytes_free) struct bytes hosts = {0}, resolv = {0}, name = {0};
	const struct bytes *const contents[CONTAINER_DIR_FILES] = {&hosts, &name, &resolv};
	int r = fill_hosts(&hosts, hostname, own_network);

	if (r == 0)
		r = bytes_printf(&name, "%s\n", hostname);
	if (r < 0)
		return fail(ENOMEM, "out of memory");
	if (!own_network)
		fill_resolv(&resolv);
	/* In memory: nothing to write to a disk and to remove from it at each start. */
	d->memory_fd = mounts_new("tmpfs", "mode=755", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, false);
	if (d->memory_fd < 0)
		return d->memory_fd;
	r = make_files(d->memory_fd, contents, ret_trees);
	if (r == -EINVAL) /* a part of a detached mount can be cloned since Linux 6.15; before, they lie on the disk */
		r = make_files(d->dir_fd, contents, ret_trees);
	return r < 0 && !report_any() ? fail(-r, "the container's files in /etc: %s", strerror(-r)) : r;
}
