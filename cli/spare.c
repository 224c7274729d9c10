/* The rename decides who has it. */
#include "cli/spare.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define SPARE "spare"
#define FACTS_MAX (64u << 10)
#define DROP_MS 1000

/* A namespace is what it is as long as it lives; a file's contents change. */
static int add_place(struct bytes *b, const char *path, bool contents)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return bytes_printf(b, "%s -\n", path);
	if (!contents)
		return bytes_printf(b, "%s %" PRIu64 ":%" PRIu64 "\n", path, (uint64_t)st.st_dev, (uint64_t)st.st_ino);
	return bytes_printf(b, "%s %" PRIu64 ":%" PRIu64 " %" PRId64 " %" PRId64 ".%09ld\n", path, (uint64_t)st.st_dev,
			    (uint64_t)st.st_ino, (int64_t)st.st_size, (int64_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

int spare_facts(const struct run_options *o, const char *run_path, struct bytes *ret)
{
	static const char *const fixed[] = {"/", "/proc/self/ns/mnt", "/proc/self/ns/net", "/proc/self/ns/user"};
	static const char *const files[] = {"/etc/hosts", "/etc/resolv.conf"};
	int r;

	if (o->own_network || o->upper)
		return 0;
	r = bytes_printf(ret, "run %s\nimage %s\nplatform %s\nhostname %s\nshm %" PRIu64 "\n", run_path,
			 o->ensure.image, o->ensure.platform ? o->ensure.platform : "", o->hostname ? o->hostname : "",
			 o->shm_size);
	for (size_t i = 0; r == 0 && i < sizeof(fixed) / sizeof(fixed[0]); i++)
		r = add_place(ret, fixed[i], false);
	for (size_t i = 0; r == 0 && i < sizeof(files) / sizeof(files[0]); i++)
		r = add_place(ret, files[i], true);
	return r;
}

struct sockaddr_un spare_address(int dir_fd)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/" SPARE_SOCKET, dir_fd);
	return a;
}

static int call_keeper(int dir_fd)
{
	_cleanup_(fd_close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a = spare_address(dir_fd);

	if (fd < 0)
		return -errno;
	return connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : TAKE_FD(fd);
}

static bool are_same(const struct bytes *kept, const struct bytes *facts)
{
	const size_t head = SPARE_ID_SIZE + sizeof(struct spare_image);

	return facts && facts->size > 0 && kept->size == head + facts->size &&
	       memcmp(kept->data + head, facts->data, facts->size) == 0;
}

static bool read_id(const struct bytes *kept, char ret[static SPARE_ID_SIZE + 1])
{
	if (kept->size < SPARE_ID_SIZE)
		return false;
	memcpy(ret, kept->data, SPARE_ID_SIZE);
	ret[SPARE_ID_SIZE] = '\0';
	return strspn(ret, "0123456789abcdef") == SPARE_ID_SIZE;
}

static bool take_with_stage(const struct container_dir *d, const struct bytes *kept, char id[static 65])
{
	char kept_id[SPARE_ID_SIZE + 1];

	if (!read_id(kept, kept_id) || renameat(d->store_fd, SPARE, d->parent_fd, kept_id) < 0)
		return false;
	memcpy(id, kept_id, sizeof(kept_id));
	return true;
}

/* Without its keeper the directory is used up. The next sweep removes it. */
static void put_away(const struct container_dir *d, const struct bytes *kept)
{
	char id[SPARE_ID_SIZE + 1];

	renameat(d->store_fd, SPARE, d->removed_fd, read_id(kept, id) ? id : "unreadable");
}

/* -ENOENT: none with a stage. */
static int open_spare(int store_fd, int *ret_dir_fd, struct bytes *ret_kept)
{
	*ret_dir_fd = openat(store_fd, SPARE, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return *ret_dir_fd < 0 ? -errno : fd_read_file(*ret_dir_fd, SPARE_FACTS, FACTS_MAX, ret_kept);
}

bool spare_take(const struct container_dir *d, const struct bytes *facts, char id[static 65], int *ret_keeper_fd)
{
	_cleanup_(bytes_free) struct bytes kept = {0};
	_cleanup_(fd_close) int dir_fd = -1, keeper_fd = -1;
	int r = open_spare(d->store_fd, &dir_fd, &kept);

	if (dir_fd < 0)
		return false;
	if (r == -ENOENT)
		return renameat(d->store_fd, SPARE, d->parent_fd, id) == 0;
	keeper_fd = r < 0 ? r : call_keeper(dir_fd);
	if (keeper_fd < 0 && keeper_fd != -EAGAIN)
		put_away(d, &kept);
	if (keeper_fd < 0 || !are_same(&kept, facts) || !take_with_stage(d, &kept, id))
		return false;
	*ret_keeper_fd = TAKE_FD(keeper_fd);
	return true;
}

static bool is_empty(int dir_fd)
{
	int list_fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);
	struct dirent *d;

	if (!dir) {
		fd_close(&list_fd);
		return true;
	}
	while ((d = readdir(dir)) && d->d_name[0] == '.')
		;
	closedir(dir);
	return !d;
}

/* Who still removes what an ended container left is about to leave a spare. */
static void wait_for_removers(int removed_fd)
{
	const int64_t deadline = clock_ms() + DROP_MS;

	while (!is_empty(removed_fd) && clock_left(deadline) > 0)
		poll(NULL, 0, 2);
}

void spare_drop(const char *store_path)
{
	_cleanup_(fd_close) int store_fd = open(store_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(fd_close) int parent_fd = fd_open_dir(store_fd, "containers", false);
	_cleanup_(fd_close) int removed_fd = fd_open_dir(store_fd, "removed", false);
	_cleanup_(fd_close) int dir_fd = -1, keeper_fd = -1;
	_cleanup_(bytes_free) struct bytes kept = {0};
	char id[SPARE_ID_SIZE + 1];
	struct pollfd p;

	if (parent_fd < 0 || removed_fd < 0)
		return;
	wait_for_removers(removed_fd);
	if (flock(parent_fd, LOCK_EX) < 0 || open_spare(store_fd, &dir_fd, &kept) < 0 || !read_id(&kept, id))
		return;
	keeper_fd = call_keeper(dir_fd);
	if (renameat(store_fd, SPARE, removed_fd, id) < 0 || keeper_fd < 0)
		return;
	flock(parent_fd, LOCK_UN);
	p = (struct pollfd){.fd = keeper_fd, .events = POLLIN};
	if (send(keeper_fd, SPARE_DROPPED, 1, MSG_NOSIGNAL) == 1)
		poll(&p, 1, DROP_MS); /* its end */
}

bool spare_is_there(const struct container_dir *d)
{
	return faccessat(d->store_fd, SPARE, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool spare_is(const struct container_dir *d)
{
	struct stat there, own;

	return fstatat(d->store_fd, SPARE, &there, AT_SYMLINK_NOFOLLOW) == 0 && fstat(d->dir_fd, &own) == 0 &&
	       there.st_dev == own.st_dev && there.st_ino == own.st_ino;
}

void spare_take_back(const struct container_dir *d)
{
	renameat(d->store_fd, SPARE, d->removed_fd, d->id);
}

bool spare_put(const struct container_dir *d)
{
	return renameat2(d->removed_fd, d->id, d->store_fd, SPARE, RENAME_NOREPLACE) == 0;
}
