/* One poll loop over children, commands and signals. */
#include "fs/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/report.h"
#include "fetch/fetcher.h"
#include "fetch/need.h"
#include "fs/child.h"
#include "fs/fuse_mount.h"
#include "fs/relay.h"
#include "fs/server.h"

#define STOP_MS 3000	  /* a child that shall end has so long */
#define LOG_SIZE_MAX (4 << 20)

/* Quick deaths of fetchers in a row after which more than requests is suspected: what is remembered, then what
 * readers wait for. The server lives on, for present bytes need no fetcher. */
#define FETCHER_MANY_DEATHS 6
#define FETCHER_LAST_DEATHS 9

enum role { SERVER, FETCHER, N_ROLES };

struct supervisor {
	const struct supervisor_setup *setup;
	struct control *control;
	struct number_table *numbers;
	struct relay *relay;
	struct child children[N_ROLES];
	int need_fds[N_ROLES]; /* the two ends of one pair, for whichever process is the present one */
	int dev_fd, signal_fd, user_ns_fd, mount_ns_fd;
	bool tell_restart; /* NEED_RESTART found no room in the server's socket */
	bool leave;
	int result;
};

static int make_control(struct supervisor *s)
{
	void *at = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return fail(errno, "mmap: %s", strerror(errno));
	s->control = at;
	s->control->supervisor_pid = getpid();
	return number_table_create(&s->numbers);
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
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? fail(errno, "signalfd: %s", strerror(errno)) : fd;
}

static int prepare(struct supervisor *s)
{
	int r;

	if (s->setup->rootless) {
		s->user_ns_fd = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
		s->mount_ns_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
		if (s->user_ns_fd < 0 || s->mount_ns_fd < 0)
			return fail(errno, "/proc/self/ns: %s", strerror(errno));
	}
	r = make_control(s);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s->need_fds) < 0)
		return fail(errno, "socketpair: %s", strerror(errno));
	s->signal_fd = make_signals();
	if (s->signal_fd < 0)
		return s->signal_fd;
	r = fuse_mount_make(s->setup->store, &s->dev_fd);
	if (r < 0)
		return r;
	return relay_new(s->setup->store, s->user_ns_fd, s->mount_ns_fd, s->control, &s->relay);
}

static int open_log(const struct supervisor_setup *setup)
{
	_cleanup_(fd_close) int log_fd = -1, null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int run_fd = setup->store->run_fd;
	struct stat st;

	if (fstatat(run_fd, "log", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > LOG_SIZE_MAX)
		renameat(run_fd, "log", run_fd, "log.old");
	log_fd = openat(run_fd, "log", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (log_fd < 0 || null_fd < 0)
		return fail(errno, "%s/log cannot be opened: %s", setup->store->run_path, strerror(errno));
	if (dup2(null_fd, STDIN_FILENO) < 0 || dup2(log_fd, STDOUT_FILENO) < 0 || dup2(log_fd, STDERR_FILENO) < 0)
		return fail(errno, "dup2: %s", strerror(errno));
	return 0;
}

static int run_child(struct supervisor *s, enum role role, int command_fd)
{
	struct server_setup server = {.store = s->setup->store,
				      .numbers = s->numbers,
				      .control = s->control,
				      .dev_fd = s->dev_fd,
				      .need_fd = s->need_fds[SERVER]};
	struct fetcher_setup fetcher = {.store = s->setup->store,
					.numbers = s->numbers,
					.command_fd = command_fd,
					.need_fd = s->need_fds[FETCHER],
					.budget = s->setup->budget,
					.idle_seconds = s->setup->idle_seconds,
					.supervisor_pid = &s->control->supervisor_pid,
					.server_pid = &s->control->server_pid,
					.parked_reads = &s->control->parked_reads,
					.n_invalidated = &s->control->n_invalidated};

	if (role == SERVER)
		return server_run(&server);
	fd_close(&s->dev_fd);
	return fetcher_run(&fetcher);
}

/* In the new process: keeps only what its part needs. */
static void become_child(struct supervisor *s, enum role role, int command_fd)
{
	int lock_fds[2] = {s->setup->store_lock_fd, s->setup->run_lock_fd};

	prctl(PR_SET_NAME, role == SERVER ? "lazyrun-server" : "lazyrun-fetcher");
	relay_free(&s->relay);
	fd_close(&lock_fds[0]);
	fd_close(&lock_fds[1]);
	fd_close(&s->signal_fd);
	fd_close(&s->user_ns_fd);
	fd_close(&s->mount_ns_fd);
	fd_close(&s->need_fds[!role]);
	for (int i = 0; i < N_ROLES; i++)
		fd_close(&s->children[i].pid_fd);
	/* The fetcher may read an OCI layout of another user for root; neither needs anything else. */
	child_drop_capabilities(role == FETCHER ? 1u << CAP_DAC_READ_SEARCH : 0);
	report_init(role == SERVER ? "lazyrun server" : "lazyrun fetcher");
	_exit(run_child(s, role, command_fd) < 0 ? 1 : 0);
}

/* From the fetcher's end of the pair, so that it arrives at the server. */
static void tell_restart(struct supervisor *s)
{
	bool poison = s->children[FETCHER].quick_deaths >= FETCHER_LAST_DEATHS;
	struct need n = {.kind = poison ? NEED_GIVE_UP : NEED_RESTART};

	s->tell_restart = send(s->need_fds[FETCHER], &n, sizeof(n), MSG_DONTWAIT | MSG_NOSIGNAL) < 0;
}

static int start_child(struct supervisor *s, enum role role)
{
	_cleanup_(fd_close) int ours_fd = -1, theirs_fd = -1;
	struct child *c = &s->children[role];
	int pair[2], r;

	if (role == FETCHER) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			return fail(errno, "socketpair: %s", strerror(errno));
		ours_fd = pair[0];
		theirs_fd = pair[1];
	}
	r = child_start(c);
	if (r < 0)
		return r;
	if (r == 0) {
		fd_close(&ours_fd);
		become_child(s, role, theirs_fd);
	}
	if (role == SERVER) {
		s->control->server_pid = c->pid;
		return 0;
	}
	s->control->fetcher_pid = c->pid;
	relay_set_fetcher(s->relay, TAKE_FD(ours_fd));
	tell_restart(s);
	return 0;
}

static void fetcher_died(struct supervisor *s)
{
	const struct child *c = &s->children[FETCHER];

	relay_end_fetcher(s->relay);
	if (!c->crashed)
		return;
	relay_fetcher_crashed(s->relay);
	if (c->quick_deaths == FETCHER_MANY_DEATHS) {
		report_note("the fetcher died %d times in a row right after its start; what was remembered is forgotten",
			    FETCHER_MANY_DEATHS);
		relay_forget(s->relay);
	}
	if (c->quick_deaths == FETCHER_LAST_DEATHS)
		report_note("the fetcher goes on dying; who waits for bytes gets an input/output error");
}

static void child_died(struct supervisor *s, enum role role)
{
	struct child *c = &s->children[role];
	bool by_itself = child_reap(c);

	if (role == FETCHER)
		fetcher_died(s);
	if (by_itself) {
		report_note(role == SERVER ? "the mount is gone" : "the fetcher ended");
		s->leave = role == SERVER;
		c->again = clock_ms() + 1000;
	}
	if (role == SERVER && c->quick_deaths == CHILD_QUICK_DEATHS) {
		s->result = fail(ECHILD, "the %s died %d times in a row right after its start: giving up", c->name,
				 CHILD_QUICK_DEATHS);
		s->leave = true;
	}
}

static void start_children(struct supervisor *s)
{
	for (enum role role = 0; role < N_ROLES; role++) {
		const struct child *c = &s->children[role];

		if (c->pid == 0 && clock_ms() >= c->again)
			start_child(s, role);
	}
}

static int next_timeout(const struct supervisor *s)
{
	int timeout = s->tell_restart ? 50 : -1;

	for (enum role role = 0; role < N_ROLES; role++)
		if (s->children[role].pid == 0) {
			int left = clock_left(s->children[role].again);

			timeout = timeout < 0 || left < timeout ? left : timeout;
		}
	return timeout;
}

static void turn(struct supervisor *s)
{
	struct pollfd fds[RELAY_POLL_MAX + N_ROLES + 1];
	size_t n = relay_poll(s->relay, fds), n_relay = n;

	for (enum role role = 0; role < N_ROLES; role++)
		fds[n++] = (struct pollfd){.fd = s->children[role].pid_fd, .events = POLLIN};
	fds[n++] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
	if (poll(fds, n, next_timeout(s)) < 0)
		return; /* EINTR; anything else comes again and is seen in the log of the next call */
	relay_dispatch(s->relay, fds, n_relay);
	for (enum role role = 0; role < N_ROLES; role++)
		if (fds[n_relay + role].revents)
			child_died(s, role);
	if (fds[n - 1].revents || relay_wants_to_leave(s->relay))
		s->leave = true;
	if (s->tell_restart)
		tell_restart(s);
	if (!s->leave)
		start_children(s);
}

/* Who connects from now on finds no socket and starts a new one; who is cut off tries once more. */
static void leave(struct supervisor *s)
{
	int64_t deadline = clock_ms() + STOP_MS;

	unlinkat(s->setup->store->run_fd, "socket", 0);
	if (s->relay)
		relay_end_fetcher(s->relay);
	if (s->dev_fd >= 0)
		fuse_mount_remove(s->setup->store);
	child_end(&s->children[FETCHER], deadline);
	child_end(&s->children[SERVER], deadline);
	relay_free(&s->relay);
	fd_close(&s->dev_fd);
}

/* The socket listens, so a command may connect; the mount's first users wait for the server. */
static void say_ready(const struct supervisor_setup *setup)
{
	char ready = SUPERVISOR_READY;

	if (setup->ready_fd < 0)
		return;
	if (write(setup->ready_fd, &ready, 1) != 1)
		report_note("the starter has gone away");
	close(setup->ready_fd);
}

int supervisor_run(const struct supervisor_setup *setup)
{
	struct supervisor s = {.setup = setup,
			       .children = {{.name = "server", .pid_fd = -1}, {.name = "fetcher", .pid_fd = -1}},
			       .need_fds = {-1, -1},
			       .dev_fd = -1,
			       .signal_fd = -1,
			       .user_ns_fd = -1,
			       .mount_ns_fd = -1};
	int r = prepare(&s);

	if (r == 0 && setup->ready_fd >= 0)
		r = open_log(setup);
	if (r == 0) {
		say_ready(setup);
		start_children(&s);
		while (!s.leave)
			turn(&s);
		r = s.result;
	}
	leave(&s);
	return r;
}
