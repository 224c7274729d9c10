/* serve: becomes the one server of a store. Started by client.c when a command needs it. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/report.h"
#include "cache/boot.h"
#include "cli/command_table.h"
#include "cli/replace.h"
#include "fs/namespace.h"
#include "fs/scope.h"
#include "fs/supervisor.h"

#define IDLE_SECONDS 900
#define LOCK_MS 10000 /* a server that leaves lets go of its locks within this */
#define SERVE_LOST 'L' /* on ready_fd: another one serves; connect to it */

struct serve_options {
	const char *store_path, *run_path;
	uint64_t budget;
	int idle_seconds;
	int ready_fd;  /* -1: stay in the foreground */
	int resume_fd; /* what another program handed over; -1: a start */
	bool replace;
};

static int parse_number(const char *what, const char *text, int *ret)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || end == text || *end || n < 0 || n > 1000000000)
		return fail(EINVAL, "%s is '%s', not a number", what, text);
	*ret = (int)n;
	return 0;
}

/* "20G", "512M", bytes, or "none". */
static int parse_budget(const char *what, const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	const char *unit;
	unsigned int shift = 0;
	char *end;
	uint64_t n;

	if (strcmp(text, "none") == 0) {
		*ret = UINT64_MAX;
		return 0;
	}
	errno = 0;
	n = strtoull(text, &end, 10);
	if (*end && (unit = strchr(units, *end)) && end > text) {
		shift = 10 * (unsigned int)(unit - units + 1);
		end++;
	}
	if (errno || end == text || *end || text[0] < '0' || text[0] > '9' || n == 0 || n > UINT64_MAX >> shift >> 1)
		return fail(EINVAL, "%s is '%s': it is a number of bytes, or one with K, M, G or T behind it, or \"none\"",
			    what, text);
	*ret = n << shift;
	return 0;
}

static int parse(int argc, char **argv, struct serve_options *o)
{
	static const struct option known[] = {
		{"store", required_argument, NULL, 's'},
		{"run-dir", required_argument, NULL, 'r'},
		{"budget", required_argument, NULL, 'b'},
		{"idle-timeout", required_argument, NULL, 'i'},
		{"ready-fd", required_argument, NULL, 'f'},
		{"replace", no_argument, NULL, 'R'},
		{"resume", required_argument, NULL, 'm'},
		{NULL, 0, NULL, 0},
	};
	const char *idle = getenv("LAZYRUN_IDLE_TIMEOUT"), *budget = getenv("LAZYRUN_BUDGET");
	int c, r = 0;

	*o = (struct serve_options){.idle_seconds = IDLE_SECONDS, .ready_fd = -1, .resume_fd = -1};
	if (idle && idle[0])
		r = parse_number("LAZYRUN_IDLE_TIMEOUT", idle, &o->idle_seconds);
	if (r == 0 && budget && budget[0])
		r = parse_budget("LAZYRUN_BUDGET", budget, &o->budget);
	optind = 1;
	while (r == 0 && (c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (c == 's')
			o->store_path = optarg;
		else if (c == 'r')
			o->run_path = optarg;
		else if (c == 'i')
			r = parse_number("--idle-timeout", optarg, &o->idle_seconds);
		else if (c == 'b')
			r = parse_budget("--budget", optarg, &o->budget);
		else if (c == 'f')
			r = parse_number("--ready-fd", optarg, &o->ready_fd);
		else if (c == 'm')
			r = parse_number("--resume", optarg, &o->resume_fd);
		else if (c == 'R')
			o->replace = true;
		else
			r = -EINVAL;
	}
	return r;
}

/* A process of its own session, whose parent is not the command that started it. */
static int become_daemon(void)
{
	pid_t pid = fork();

	if (pid < 0)
		return fail(errno, "fork: %s", strerror(errno));
	if (pid > 0)
		_exit(0);
	setsid();
	return 0;
}

/* What the starter had open is none of ours. */
static int close_inherited(int keep_fd)
{
	unsigned keep = keep_fd < 3 ? 3 : (unsigned)keep_fd;
	int r = 0;

	if (keep_fd >= 3) {
		fcntl(keep_fd, F_SETFD, FD_CLOEXEC);
		if (keep > 3)
			r = close_range(3, keep - 1, 0);
		keep++;
	}
	if (r == 0)
		r = close_range(keep, ~0u, 0);
	return r < 0 ? fail(errno, "close_range: %s (Linux 5.9 is needed)", strerror(errno)) : 0;
}

static bool winner_listens(const struct store *s)
{
	_cleanup_(fd_close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/socket", s->run_fd);
	return fd >= 0 && (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN);
}

/* 0: locked. -EBUSY: another run directory's server has the store (reported). 1: lost to a winner. */
static int take_lock(const struct store *s, int dir_fd, int *ret_fd)
{
	_cleanup_(fd_close) int fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int64_t deadline = clock_ms() + LOCK_MS;

	if (fd < 0)
		return fail(errno, "the lock of %s cannot be opened: %s", s->store_path, strerror(errno));
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return fail(errno, "flock: %s", strerror(errno));
		if (winner_listens(s))
			return 1;
		if (clock_left(deadline) == 0) {
			char holder[512] = "";
			ssize_t n = pread(fd, holder, sizeof(holder) - 1, 0);

			return fail(EBUSY, "the store %s is served by another server already (%.*s); use its "
				    "--run-dir, or stop it",
				    s->store_path, n > 0 ? (int)n : 7, n > 0 ? holder : "unknown");
		}
		usleep(10000);
	}
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "pid %d, run directory %s", getpid(), s->run_path) < 0)
		report_note("the lock of %s does not name its holder: %s", s->store_path, strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Of the starter's environment only PATH and our own variables are meant for us: commands send proxies
 * and credentials. */
static int clean_environment(void)
{
	static const char *const kept[] = {"PATH=", "LAZYRUN_"};
	size_t n = 0, n_kept = 0;
	char **clean;

	while (environ[n])
		n++;
	clean = calloc(n + 1, sizeof(*clean)); /* for the life of the process */
	if (!clean)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < sizeof(kept) / sizeof(kept[0]); k++)
			if (strncmp(environ[i], kept[k], strlen(kept[k])) == 0)
				clean[n_kept++] = environ[i];
	environ = clean;
	return 0;
}

/* In a child: what it reads may be torn in any way, and the supervisor parses nothing. */
static int recover_after_boot(const struct store *s)
{
	int status;
	pid_t pid;

	if (!boot_is_new(s))
		return 0;
	pid = fork();
	if (pid < 0)
		return fail(errno, "fork: %s", strerror(errno));
	if (pid == 0)
		_exit(boot_recover(s) < 0 ? 1 : 0);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return fail(errno, "waitpid: %s", strerror(errno));
	if (status == 0)
		return 0;
	return fail(EIO, "the store %s cannot be used after the machine was restarted; remove it, or use --store DIR "
		    "for another", s->store_path);
}

static int serve(const struct serve_options *o)
{
	_cleanup_(store_free) struct store *outside = NULL;
	_cleanup_(store_free) struct store *store = NULL;
	_cleanup_(fd_close) int store_lock_fd = -1, run_lock_fd = -1;
	struct supervisor_setup setup = {
		.budget = o->budget, .idle_seconds = o->idle_seconds, .ready_fd = o->ready_fd, .resume_fd = -1};
	int r = store_open(o->store_path, o->run_path, true, &outside);

	if (r == 0)
		r = take_lock(outside, outside->run_fd, &run_lock_fd);
	if (r == 0)
		r = take_lock(outside, outside->store_fd, &store_lock_fd);
	if (r != 0)
		return r;
	setup.rootless = geteuid() != 0;
	r = clean_environment();
	if (r < 0)
		return r;
	if (o->ready_fd >= 0)
		scope_leave_starter();
	if (setup.rootless) {
		r = namespace_enter();
		if (r < 0)
			return r;
	}
	/* Again: descriptors from before belong to the host's mount namespace, where we may not mount. */
	r = store_open(outside->store_path, outside->run_path, false, &store);
	if (r < 0)
		return r;
	r = recover_after_boot(store);
	if (r < 0)
		return r;
	store_free(&outside);
	setup.store = store;
	setup.store_lock_fd = store_lock_fd;
	setup.run_lock_fd = run_lock_fd;
	if (chdir("/") < 0)
		return -errno;
	return supervisor_run(&setup);
}

/* Executed by a supervisor in its own place (kept.h): all is as it was there, but the program. */
static int resume(const struct serve_options *o)
{
	_cleanup_(store_free) struct store *store = NULL;
	struct supervisor_setup setup = {.ready_fd = -1, .resume_fd = o->resume_fd};
	int r;

	prctl(PR_SET_NAME, "lazyrun-image");
	report_init("lazyrun supervisor");
	r = store_open(o->store_path, o->run_path, false, &store);
	if (r < 0)
		return r;
	setup.store = store;
	return supervisor_run(&setup);
}

/* What the starter was told to ignore or allowed to use is none of ours either. */
static void reset_process(void)
{
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit limit;

		if (i == RLIMIT_STACK || i == RLIMIT_CORE || getrlimit(i, &limit) < 0)
			continue;
		limit.rlim_cur = limit.rlim_max;
		setrlimit(i, &limit);
	}
}

int cmd_serve(int argc, char **argv)
{
	struct serve_options o;
	int r = parse(argc, argv, &o);

	if (r < 0)
		return r;
	if (o.resume_fd >= 0)
		return resume(&o);
	if (o.replace)
		return replace_server(o.store_path, o.run_path);
	umask(077);
	reset_process();
	if (o.ready_fd >= 0) {
		r = become_daemon();
		if (r < 0)
			return r;
	}
	r = close_inherited(o.ready_fd);
	if (r < 0)
		return r;
	report_init("lazyrun supervisor");
	r = serve(&o);
	if (r == 1 && o.ready_fd >= 0) {
		char lost = SERVE_LOST;

		return write(o.ready_fd, &lost, 1) == 1 ? 0 : 1;
	}
	if (r == 1)
		report_note("another server serves this store already");
	return r;
}
