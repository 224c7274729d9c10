/* A struct in a memory file, whose descriptor is the new program's argument. */
#include "fs/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/message.h"
#include "base/report.h"
#include "base/shared.h"

struct kept kept_none(void)
{
	struct kept k = {.children = {{.name = "server", .pid_fd = -1, .life_fd = -1},
				    {.name = "fetcher", .pid_fd = -1, .life_fd = -1}}};

	for (int i = 0; i < KEPT_FDS; i++)
		k.fds[i] = -1;
	return k;
}

void kept_format_here(struct kept_format *ret)
{
	*ret = (struct kept_format){.version = KEPT_VERSION,
				    .message_magic = MESSAGE_MAGIC,
				    .kept_size = sizeof(struct kept),
				    .relay_size = relay_size(),
				    .numbers_size = number_table_size(),
				    .control_size = sizeof(struct control)};
}

static int make_signals(void)
{
	sigset_t mask;
	int fd;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? fail(errno, "signalfd: %s", strerror(errno)) : fd;
}

int kept_make(const struct store *store, bool rootless, struct kept *k, struct kept_memory *m)
{
	void *at;
	int r;

	if (rootless) {
		k->fds[KEPT_USER_NS] = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
		k->fds[KEPT_MOUNT_NS] = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
		if (k->fds[KEPT_USER_NS] < 0 || k->fds[KEPT_MOUNT_NS] < 0)
			return fail(errno, "/proc/self/ns: %s", strerror(errno));
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, &k->fds[KEPT_NEED_SERVER]) < 0)
		return fail(errno, "socketpair: %s", strerror(errno));
	k->fds[KEPT_SIGNALS] = make_signals();
	if (k->fds[KEPT_SIGNALS] < 0)
		return k->fds[KEPT_SIGNALS];
	r = shared_make("lazyrun-control", sizeof(struct control), &k->fds[KEPT_CONTROL], &at);
	if (r < 0)
		return r;
	m->control = at;
	m->control->supervisor_pid = getpid();
	r = number_table_create(&k->fds[KEPT_NUMBERS], &m->numbers);
	if (r < 0)
		return r;
	return relay_new(store, k->fds[KEPT_USER_NS], k->fds[KEPT_MOUNT_NS], m->control, &k->fds[KEPT_RELAY],
			 &m->relay);
}

void kept_close_others(struct kept *k, enum kept_role role)
{
	for (int i = 0; i < KEPT_FDS; i++)
		if (i != (int)role && (i != KEPT_DEV_FUSE || role != KEPT_SERVER))
			fd_close(&k->fds[i]);
	for (int i = 0; i < KEPT_ROLES; i++) {
		fd_close(&k->children[i].pid_fd);
		fd_close(&k->children[i].life_fd);
	}
}

/* Whether execve(2) keeps the descriptors. */
static int keep_open(const struct kept *k, const struct kept_memory *m, bool keep)
{
	int fds[KEPT_FDS + 2 * KEPT_ROLES + RELAY_FDS_MAX];
	size_t n = 0;

	for (int i = 0; i < KEPT_FDS; i++)
		fds[n++] = k->fds[i];
	for (int i = 0; i < KEPT_ROLES; i++) {
		fds[n++] = k->children[i].pid_fd;
		fds[n++] = k->children[i].life_fd;
	}
	n += relay_descriptors(m->relay, fds + n);
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0 && fcntl(fds[i], F_SETFD, keep ? 0 : FD_CLOEXEC) < 0)
			return fail(errno, "fcntl: %s", strerror(errno));
	return 0;
}

int kept_give(const struct kept *k, const struct kept_memory *m, const struct store *store, int program_fd)
{
	_cleanup_(fd_close) int fd = -1;
	char resume[16];
	struct kept *copy;
	void *at;
	int r = shared_make("lazyrun-kept", sizeof(*copy), &fd, &at);

	if (r < 0)
		return r;
	copy = at;
	*copy = *k;
	kept_format_here(&copy->format);
	shared_unmap(at, sizeof(*copy));
	snprintf(resume, sizeof(resume), "%d", fd);
	r = keep_open(k, m, true);
	if (r == 0 && fcntl(fd, F_SETFD, 0) == 0) {
		char *argv[] = {(char[]){"lazyrun-image"}, (char[]){"serve"},
				(char[]){"--store"}, store->store_path,
				(char[]){"--run-dir"}, store->run_path,
				(char[]){"--resume"}, resume, NULL};

		execveat(program_fd, "", argv, environ, AT_EMPTY_PATH);
		r = fail(errno, "the program that was to take over cannot be executed: %s", strerror(errno));
	}
	keep_open(k, m, false);
	return r < 0 ? r : -EIO;
}

int kept_take(int fd, struct kept *k, struct kept_memory *m)
{
	struct kept_format ours;
	void *at;
	int r = shared_map(fd, sizeof(*k), &at);

	if (r < 0)
		return r;
	*k = *(const struct kept *)at;
	shared_unmap(at, sizeof(*k));
	close(fd);
	kept_format_here(&ours);
	if (memcmp(&k->format, &ours, sizeof(ours)) != 0)
		return fail(EOPNOTSUPP, "what was handed over is laid out for another version of lazyrun");
	k->children[KEPT_SERVER].name = "server"; /* the old texts were in the old program */
	k->children[KEPT_FETCHER].name = "fetcher";
	r = shared_map(k->fds[KEPT_CONTROL], sizeof(struct control), &at);
	if (r < 0)
		return r;
	m->control = at;
	r = number_table_again(k->fds[KEPT_NUMBERS], &m->numbers);
	if (r == 0)
		r = relay_again(k->fds[KEPT_RELAY], m->control, &m->relay);
	return r < 0 ? r : keep_open(k, m, false);
}
