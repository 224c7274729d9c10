/* One poll loop over children, commands and signals. */
#include "fs/supervisor.h"

#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/report.h"
#include "fetch/fetcher.h"
#include "fetch/need.h"
#include "fs/fuse_mount.h"
#include "fs/kept.h"
#include "fs/ready.h"
#include "fs/server.h"

#define STOP_MS 3000 /* a child that shall end has so long */

/* Quick deaths of fetchers in a row after which more than requests is suspected: what is remembered, then what
 * readers wait for. The server lives on, for present bytes need no fetcher. */
#define FETCHER_MANY_DEATHS 6
#define FETCHER_LAST_DEATHS 9

struct supervisor {
	const struct supervisor_setup *setup;
	struct kept kept;
	struct kept_memory memory;
	bool tell_restart; /* NEED_RESTART found no room in the server's socket */
	bool leave;
	int result;
};

static int prepare(struct supervisor *s)
{
	int r = kept_make(s->setup->store, s->setup->rootless, &s->kept, &s->memory);

	s->kept.budget = s->setup->budget;
	s->kept.idle_seconds = s->setup->idle_seconds;
	s->kept.fds[KEPT_STORE_LOCK] = s->setup->store_lock_fd;
	s->kept.fds[KEPT_RUN_LOCK] = s->setup->run_lock_fd;
	if (r == 0)
		r = fuse_mount_make(s->setup->store, &s->kept.fds[KEPT_DEV_FUSE]);
	return r;
}

/* In another program than before: what must not die is here, and the old server and fetcher give way to ours. */
static int resume(struct supervisor *s)
{
	int r = kept_take(s->setup->resume_fd, &s->kept, &s->memory);

	if (r < 0)
		return r;
	report_note("this program has taken over");
	for (enum kept_role role = 0; role < KEPT_ROLES; role++)
		if (s->kept.children[role].pid > 0)
			kill(s->kept.children[role].pid, SIGKILL);
	relay_replaced(s->memory.relay, 0);
	return 0;
}

static int run_child(const struct supervisor *s, enum kept_role role, int command_fd)
{
	struct control *control = s->memory.control;
	struct server_setup server = {.store = s->setup->store,
				      .numbers = s->memory.numbers,
				      .control = control,
				      .dev_fd = s->kept.fds[KEPT_DEV_FUSE],
				      .need_fd = s->kept.fds[KEPT_NEED_SERVER]};
	struct fetcher_setup fetcher = {.store = s->setup->store,
					.numbers = s->memory.numbers,
					.command_fd = command_fd,
					.need_fd = s->kept.fds[KEPT_NEED_FETCHER],
					.budget = s->kept.budget,
					.idle_seconds = s->kept.idle_seconds,
					.supervisor_pid = &control->supervisor_pid,
					.server_pid = &control->server_pid,
					.parked_reads = &control->parked_reads,
					.n_invalidated = &control->n_invalidated,
					.n_dropped = &control->n_dropped};

	return role == KEPT_SERVER ? server_run(&server) : fetcher_run(&fetcher);
}

/* In the new process: keeps only what its part needs. */
static void become_child(struct supervisor *s, enum kept_role role, int command_fd)
{
	prctl(PR_SET_NAME, role == KEPT_SERVER ? "lazyrun-server" : "lazyrun-fetcher");
	kept_close_others(&s->kept, role);
	/* The fetcher decides by what is named for it; see sandbox.h. */
	child_drop_capabilities(role == KEPT_FETCHER ? 1u << CAP_DAC_READ_SEARCH : 0);
	report_init(role == KEPT_SERVER ? "lazyrun server" : "lazyrun fetcher");
	_exit(run_child(s, role, command_fd) < 0 ? 1 : 0);
}

/* From the fetcher's end of the pair, so that it arrives at the server. */
static void tell_restart(struct supervisor *s)
{
	bool poison = s->kept.children[KEPT_FETCHER].quick_deaths >= FETCHER_LAST_DEATHS;
	struct need n = {.kind = poison ? NEED_GIVE_UP : NEED_RESTART};

	s->tell_restart = send(s->kept.fds[KEPT_NEED_FETCHER], &n, sizeof(n), MSG_DONTWAIT | MSG_NOSIGNAL) < 0;
}

static int start_child(struct supervisor *s, enum kept_role role)
{
	_cleanup_(fd_close) int ours_fd = -1, theirs_fd = -1;
	struct child *c = &s->kept.children[role];
	int pair[2], fds[RELAY_FDS_MAX], r;
	size_t n_fds = relay_descriptors(s->memory.relay, fds);

	if (role == KEPT_FETCHER) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			return fail(errno, "socketpair: %s", strerror(errno));
		ours_fd = pair[0];
		theirs_fd = pair[1];
	}
	r = child_start(c, role == KEPT_SERVER);
	if (r < 0)
		return r;
	if (r == 0) {
		fd_close(&ours_fd);
		for (size_t i = 0; i < n_fds; i++)
			close(fds[i]);
		relay_unmap(&s->memory.relay);
		become_child(s, role, theirs_fd);
	}
	if (role == KEPT_SERVER) {
		s->memory.control->server_pid = c->pid;
		return 0;
	}
	s->memory.control->fetcher_pid = c->pid;
	relay_set_fetcher(s->memory.relay, TAKE_FD(ours_fd));
	tell_restart(s);
	return 0;
}

static void fetcher_died(struct supervisor *s)
{
	const struct child *c = &s->kept.children[KEPT_FETCHER];

	relay_end_fetcher(s->memory.relay);
	if (!c->crashed)
		return;
	relay_fetcher_crashed(s->memory.relay);
	if (c->quick_deaths == FETCHER_MANY_DEATHS) {
		report_note("the fetcher died %d times in a row right after its start; what was remembered is forgotten",
			    FETCHER_MANY_DEATHS);
		relay_forget(s->memory.relay);
	}
	if (c->quick_deaths == FETCHER_LAST_DEATHS)
		report_note("the fetcher goes on dying; who waits for bytes gets an input/output error");
}

static void child_died(struct supervisor *s, enum kept_role role)
{
	struct child *c = &s->kept.children[role];
	bool by_itself = child_reap(c);

	if (role == KEPT_FETCHER)
		fetcher_died(s);
	if (by_itself) {
		report_note(role == KEPT_SERVER ? "the mount is gone" : "the fetcher ended");
		s->leave |= role == KEPT_SERVER;
		c->again = clock_ms() + 1000;
	}
	if (role == KEPT_SERVER && c->quick_deaths == CHILD_QUICK_DEATHS) {
		s->result = fail(ECHILD, "the %s died %d times in a row right after its start: giving up", c->name,
				 CHILD_QUICK_DEATHS);
		s->leave = true;
	}
}

static void start_children(struct supervisor *s)
{
	for (enum kept_role role = 0; role < KEPT_ROLES; role++) {
		const struct child *c = &s->kept.children[role];

		if (c->pid == 0 && clock_ms() >= c->again)
			start_child(s, role);
	}
}

static int next_timeout(const struct supervisor *s)
{
	int timeout = s->tell_restart ? 50 : -1;

	for (enum kept_role role = 0; role < KEPT_ROLES; role++)
		if (s->kept.children[role].pid == 0) {
			int left = clock_left(s->kept.children[role].again);

			timeout = timeout < 0 || left < timeout ? left : timeout;
		}
	return timeout;
}

static void turn(struct supervisor *s)
{
	struct pollfd fds[RELAY_POLL_MAX + 2 * KEPT_ROLES + 1];
	size_t n = relay_poll(s->memory.relay, fds), n_relay = n;

	for (enum kept_role role = 0; role < KEPT_ROLES; role++) {
		fds[n++] = (struct pollfd){.fd = s->kept.children[role].pid_fd, .events = POLLIN};
		fds[n++] = (struct pollfd){.fd = s->kept.children[role].life_fd, .events = POLLIN};
	}
	fds[n++] = (struct pollfd){.fd = s->kept.fds[KEPT_SIGNALS], .events = POLLIN};
	if (poll(fds, n, next_timeout(s)) < 0)
		return; /* EINTR; anything else comes again and is seen in the log of the next call */
	relay_dispatch(s->memory.relay, fds, n_relay);
	for (enum kept_role role = 0; role < KEPT_ROLES; role++)
		if (fds[n_relay + 2 * role].revents || fds[n_relay + 2 * role + 1].revents)
			child_died(s, role);
	if (fds[n - 1].revents || relay_wants_to_leave(s->memory.relay))
		s->leave = true;
	if (s->tell_restart)
		tell_restart(s);
	if (!s->leave && relay_wants_program(s->memory.relay) >= 0)
		relay_replaced(s->memory.relay, kept_give(&s->kept, &s->memory, s->setup->store,
							  relay_wants_program(s->memory.relay)));
	if (!s->leave)
		start_children(s);
}

/* Who connects from now on finds no socket and starts a new one; who is cut off tries once more. */
static void leave(struct supervisor *s)
{
	int64_t deadline = clock_ms() + STOP_MS;

	unlinkat(s->setup->store->run_fd, "socket", 0);
	if (s->memory.relay)
		relay_end_fetcher(s->memory.relay);
	if (s->kept.fds[KEPT_DEV_FUSE] >= 0)
		fuse_mount_remove(s->setup->store);
	child_end(&s->kept.children[KEPT_FETCHER], deadline);
	fd_close(&s->kept.fds[KEPT_NEED_FETCHER]); /* the server hears of the end */
	child_end(&s->kept.children[KEPT_SERVER], deadline);
	relay_free(&s->memory.relay);
	fd_close(&s->kept.fds[KEPT_DEV_FUSE]);
}

int supervisor_run(const struct supervisor_setup *setup)
{
	struct supervisor s = {.setup = setup, .kept = kept_none()};
	int r = setup->resume_fd >= 0 ? resume(&s) : prepare(&s);

	if (r == 0)
		r = ready_say(setup->store, setup->ready_fd);
	if (r == 0) {
		start_children(&s);
		while (!s.leave)
			turn(&s);
		r = s.result;
	}
	leave(&s);
	return r;
}
