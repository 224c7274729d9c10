/* A helper that stays outside calls newuidmap and newgidmap for us, which are set-user-id. */
#include "fs/namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <stdbool.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"

#define RANGES_MAX 64 /* user_namespaces(7) allows 340 lines */
#define SUBID_FILE_MAX (1u << 20)

struct range {
	uint64_t start, count;
};

static bool overlaps(const struct range *ranges, size_t n, struct range r)
{
	for (size_t i = 0; i < n; i++)
		if (r.start < ranges[i].start + ranges[i].count && ranges[i].start < r.start + r.count)
			return true;
	return false;
}

/* All ranges of this user, by name or number. A missing file is no range. */
static size_t read_ranges(const char *path, const char *user, uid_t uid, struct range *ranges)
{
	_cleanup_(bytes_free) struct bytes file = {0};
	char number[16], *line, *save = NULL;
	size_t n = 0;

	snprintf(number, sizeof(number), "%u", uid);
	if (fd_read_file(AT_FDCWD, path, SUBID_FILE_MAX, &file) < 0)
		return 0;
	for (line = strtok_r((char *)file.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *start = strchr(line, ':');
		struct range r;

		if (!start)
			continue;
		*start++ = '\0';
		if (strcmp(line, number) != 0 && (!user || strcmp(line, user) != 0))
			continue;
		if (sscanf(start, "%" SCNu64 ":%" SCNu64, &r.start, &r.count) != 2 || r.count == 0 ||
		    r.start > UINT32_MAX || r.count > UINT32_MAX - r.start || overlaps(ranges, n, r))
			continue;
		ranges[n++] = r;
		if (n == RANGES_MAX)
			break;
	}
	return n;
}

/* newuidmap PID 0 UID 1 1 START COUNT ... Returns 0 or a negative errno; it has said why itself. */
static int call_map_tool(const char *tool, pid_t pid, unsigned id, const struct range *ranges, size_t n)
{
	char texts[3 + RANGES_MAX * 3 + 2][24], *argv[3 + RANGES_MAX * 3 + 4];
	uint64_t inside = 1;
	size_t used = 0;
	int status;
	pid_t child;

	snprintf(texts[used++], sizeof(texts[0]), "%d", pid);
	snprintf(texts[used++], sizeof(texts[0]), "0");
	snprintf(texts[used++], sizeof(texts[0]), "%u", id);
	snprintf(texts[used++], sizeof(texts[0]), "1");
	for (size_t i = 0; i < n; i++) {
		snprintf(texts[used++], sizeof(texts[0]), "%" PRIu64, inside);
		snprintf(texts[used++], sizeof(texts[0]), "%" PRIu64, ranges[i].start);
		snprintf(texts[used++], sizeof(texts[0]), "%" PRIu64, ranges[i].count);
		inside += ranges[i].count;
	}
	argv[0] = (char *)(uintptr_t)tool;
	for (size_t i = 0; i < used; i++)
		argv[i + 1] = texts[i];
	argv[used + 1] = NULL;
	child = fork();
	if (child < 0)
		return -errno;
	if (child == 0) {
		execvp(tool, argv);
		_exit(127);
	}
	if (waitpid(child, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/* What the helper got done. */
#define MAPPED_UIDS 1
#define MAPPED_GIDS 2

/* In the helper: waits for the unshare, maps what can be mapped, answers with a mask. */
static void help(int socket_fd, pid_t target, uid_t uid, gid_t gid)
{
	struct range uids[RANGES_MAX], gids[RANGES_MAX];
	const struct passwd *pw = getpwuid(uid);
	size_t n_uids = read_ranges("/etc/subuid", pw ? pw->pw_name : NULL, uid, uids);
	size_t n_gids = read_ranges("/etc/subgid", pw ? pw->pw_name : NULL, uid, gids);
	char mask = 0;

	if (read(socket_fd, &mask, 1) != 1)
		_exit(1);
	mask = 0;
	if (n_uids > 0 && n_gids > 0 && call_map_tool("newuidmap", target, uid, uids, n_uids) == 0) {
		mask |= MAPPED_UIDS;
		if (call_map_tool("newgidmap", target, gid, gids, n_gids) == 0)
			mask |= MAPPED_GIDS;
	}
	_exit(write(socket_fd, &mask, 1) == 1 ? 0 : 1);
}

static int write_file(const char *path, const char *text)
{
	_cleanup_(fd_close) int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fd_write_full(fd, text, strlen(text));
}

/* One id, which needs no privilege; setgroups must be given up for it (user_namespaces(7)). */
static int map_single(const char *path, unsigned id)
{
	char text[32];
	int r;

	if (strcmp(path, "/proc/self/gid_map") == 0) {
		r = write_file("/proc/self/setgroups", "deny");
		if (r < 0)
			return r;
	}
	snprintf(text, sizeof(text), "0 %u 1", id);
	return write_file(path, text);
}

static int enter_user_namespace(int helper_fd, uid_t uid, gid_t gid)
{
	char mask = 0;
	int r = 0;

	if (unshare(CLONE_NEWUSER) < 0)
		return fail(errno,
			    "this system does not let you make a user namespace (%s); look at \"lazyrun doctor\", "
			    "user.max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns",
			    strerror(errno));
	if (write(helper_fd, &mask, 1) != 1 || read(helper_fd, &mask, 1) != 1)
		mask = 0;
	if (!(mask & MAPPED_UIDS))
		r = map_single("/proc/self/uid_map", uid);
	if (r == 0 && !(mask & MAPPED_GIDS))
		r = map_single("/proc/self/gid_map", gid);
	if (r < 0)
		return fail(-r, "the user namespace's ids cannot be mapped: %s", strerror(-r));
	if (mask != (MAPPED_UIDS | MAPPED_GIDS))
		report_note("no ranges of user ids could be used (/etc/subuid, /etc/subgid, newuidmap): every owner "
			    "in an image shows as root");
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return fail(errno, "root of the user namespace cannot be had: %s", strerror(errno));
	return 0;
}

int namespace_enter(void)
{
	_cleanup_(fd_close) int helper_fd = -1;
	uid_t uid = geteuid();
	gid_t gid = getegid();
	pid_t self = getpid(), helper;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return fail(errno, "socketpair: %s", strerror(errno));
	helper = fork();
	if (helper == 0) {
		close(pair[0]);
		help(pair[1], self, uid, gid);
	}
	close(pair[1]);
	helper_fd = pair[0];
	if (helper < 0)
		return fail(errno, "fork: %s", strerror(errno));
	r = enter_user_namespace(helper_fd, uid, gid);
	fd_close(&helper_fd);
	waitpid(helper, NULL, 0);
	if (r < 0)
		return r;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return fail(errno, "a mount namespace cannot be made: %s", strerror(errno));
	return 0;
}
