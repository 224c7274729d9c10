/* keeper_run() says what it does, keeper_take() what a start does. */
#include "cli/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "cli/spare.h"

#define ANSWER_MS 1000 /* for a keeper that is stopped, or a start that is */

static int read_image(int dir_fd, struct spare_image *ret)
{
	_cleanup_(fd_close) int fd = openat(dir_fd, SPARE_FACTS, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	int r = fd < 0 ? -errno : fd_pread_full(fd, ret, sizeof(*ret), SPARE_ID_SIZE);

	/* It becomes a path, before the server has said that the image has this key. */
	if (r == 0 && (ret->key[IMAGE_KEY_SIZE - 1] || strspn(ret->key, "0123456789abcdef") != IMAGE_KEY_SIZE - 1))
		return -EBADMSG;
	return r;
}

/* By its process, which need not wake up for that. That it is the keeper's we know when it still lives afterwards. */
static int open_stage(int keeper_fd, struct stage *ret)
{
	_cleanup_(stage_free) struct stage s = STAGE_NONE;
	struct ucred keeper;
	socklen_t size = sizeof(keeper);
	int r;

	if (getsockopt(keeper_fd, SOL_SOCKET, SO_PEERCRED, &keeper, &size) < 0)
		return -errno;
	r = stage_open(keeper.pid, &s);
	if (r < 0)
		return r;
	if (send(keeper_fd, SPARE_TAKEN, 1, MSG_NOSIGNAL) < 0) /* it may leave */
		return -errno;
	*ret = s;
	s = STAGE_NONE;
	return 0;
}

int keeper_take(const struct container_dir *d, struct spare_image *ret_image, struct stage *ret)
{
	struct spare_image image;
	int r = read_image(d->dir_fd, &image);

	if (r == 0)
		r = open_stage(d->keeper_fd, ret);
	if (r == 0)
		*ret_image = image;
	return r;
}

struct keeper {
	const struct container_dir *dir;
	int home_fd; /* the mount namespace before the stage's */
	int listen_fd, server_fd;
};

/* Out of the stage first, or its mounts would be over what is removed. */
static void __attribute__((noreturn)) end_keeper(struct keeper *k)
{
	if (setns(k->home_fd, CLONE_NEWNS) == 0)
		fd_remove_tree(k->dir->removed_fd, k->dir->id);
	_exit(0);
}

static int listen_in(int dir_fd)
{
	_cleanup_(fd_close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a = spare_address(dir_fd);

	if (fd < 0)
		return -errno;
	return bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 8) < 0 ? -errno : TAKE_FD(fd);
}

/* While the host's tree is seen: the listener, and what is compared. */
static int prepare(struct keeper *k, const struct spare_image *image, const struct bytes *facts)
{
	_cleanup_(bytes_free) struct bytes kept = {0};
	const int dir_fd = k->dir->dir_fd;
	int r;

	k->home_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	k->listen_fd = k->home_fd < 0 ? -errno : listen_in(dir_fd);
	if (k->listen_fd < 0)
		return k->listen_fd;
	r = bytes_append(&kept, k->dir->id, SPARE_ID_SIZE);
	if (r == 0)
		r = bytes_append(&kept, image, sizeof(*image));
	if (r == 0)
		r = bytes_append(&kept, facts->data, facts->size);
	return r == 0 ? fd_write_file(dir_fd, SPARE_FACTS, kept.data, kept.size, 0600) : r;
}

/* Who takes the stage says so. Who only looks whether we live does not; but who dies meanwhile does not, either. */
static void answer(struct keeper *k)
{
	_cleanup_(fd_close) int fd = accept4(k->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char said;

	if (fd >= 0 && poll(&p, 1, ANSWER_MS) == 1 && recv(fd, &said, 1, MSG_DONTWAIT) == 1) {
		if (said == *SPARE_DROPPED)
			end_keeper(k);
		_exit(0);
	}
	if (!spare_is(k->dir))
		_exit(0);
}

/* Under the lock nobody takes it. */
static void __attribute__((noreturn)) give_up(struct keeper *k)
{
	if (flock(k->dir->parent_fd, LOCK_EX) < 0 || !spare_is(k->dir))
		_exit(0);
	spare_take_back(k->dir);
	flock(k->dir->parent_fd, LOCK_UN);
	end_keeper(k);
}

static void __attribute__((noreturn)) keep(struct keeper *k)
{
	struct pollfd p[] = {{.fd = k->listen_fd, .events = POLLIN}, {.fd = k->server_fd, .events = POLLIN}};
	const int64_t deadline = clock_ms() + 1000 * KEEPER_SECONDS;

	for (;;) {
		int n = poll(p, 2, clock_left(deadline));

		if (n > 0 && p[0].revents)
			answer(k);
		else if (n == 0 || (n > 0 && p[1].revents))
			give_up(k);
	}
}

/* What nearly every start looks up in the image: names that were found once are found at once. */
static void look_up(const struct config *c)
{
	static const char *const names[] = {
		"/proc", "/etc/passwd", "/etc/group", "/etc/ld.so.cache",
		"/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6",
		"/lib/ld-linux-aarch64.so.1", "/lib/aarch64-linux-gnu/libc.so.6",
	};
	const char *name = c->args[0], *path = config_env(c, "PATH");
	struct stat st;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		stat(names[i], &st);
	stat(c->cwd, &st);
	while (path && !strchr(name, '/')) { /* as the launcher looks for it */
		char at[4096];
		const int size = (int)strcspn(path, ":");

		if (snprintf(at, sizeof(at), "%.*s/%s", size, path, name) < (int)sizeof(at) && stat(at, &st) == 0)
			return;
		path = path[size] ? path + size + 1 : NULL;
	}
	stat(name, &st);
}

void keeper_run(const struct container_dir *d, const struct config *c, const struct bytes *facts,
		const struct spare_image *image, int server_fd)
{
	struct keeper k = {.dir = d, .home_fd = -1, .listen_fd = -1, .server_fd = server_fd};
	sigset_t none;

	prctl(PR_SET_NAME, "lazyrun-spare");
	prctl(PR_SET_DUMPABLE, 1); /* or its user could not open /proc/<pid>/ns */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (prepare(&k, image, facts) < 0 || stage_make(c) < 0)
		end_keeper(&k);
	look_up(c);
	if (!spare_put(d))
		end_keeper(&k);
	flock(d->dir_fd, LOCK_UN);
	keep(&k);
}
