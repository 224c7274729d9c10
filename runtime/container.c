/* The parent's side: prepares what init needs, passes signals and the terminal, waits, tidies up. */
#include "runtime/container.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/report.h"
#include "runtime/caps.h"
#include "runtime/init.h"
#include "runtime/mounts.h"
#include "runtime/namespaces.h"
#include "runtime/stage.h"
#include "runtime/sync.h"
#include "runtime/terminal.h"

struct container {
	const struct config *config;
	int pidfd, sync_fd, signal_fd, left_fd;
	pid_t pid;
	struct terminal terminal;
	bool ended;
	int status;
	int failed; /* negative errno when init could not get to the command */
	unsigned int stops; /* SIGINT and SIGTERM seen */
	int early_signal; /* that ended init before the command was executed; 0: none */
	int64_t deadline_ms; /* for the command to be executed; 0: none, or it is */
	struct cgroup *cgroup;
	sigset_t signals_before;
};

/* Faults of our own and job control stay as they are; all else comes through the descriptor. */
static int take_signals(sigset_t *ret_before)
{
	static const int ours[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGTSTP, SIGTTIN, SIGTTOU};
	sigset_t set;
	int fd;

	sigfillset(&set);
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		sigdelset(&set, ours[i]);
	if (sigprocmask(SIG_BLOCK, &set, ret_before) < 0)
		return fail(errno, "sigprocmask: %s", strerror(errno));
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? fail(errno, "signalfd: %s", strerror(errno)) : fd;
}

static bool ends_a_process(uint32_t number)
{
	return number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT;
}

static void pass_signal(struct container *k)
{
	struct signalfd_siginfo info;

	if (read(k->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGWINCH && k->config->terminal) {
		terminal_resize(&k->terminal);
		return;
	}
	if (info.ssi_signo == SIGCHLD || info.ssi_signo == SIGPIPE || info.ssi_signo == SIGURG)
		return;
	/* Until the command is there, nothing of the user's has to be asked, and init would ignore it. */
	if (k->sync_fd >= 0 && ends_a_process(info.ssi_signo)) {
		k->early_signal = (int)info.ssi_signo;
		info.ssi_signo = SIGKILL;
	}
	/* Process 1 ignores what it has no handler for; who asks three times means it. */
	if ((info.ssi_signo == SIGINT || info.ssi_signo == SIGTERM) && ++k->stops >= 3)
		info.ssi_signo = SIGKILL;
	pidfd_send_signal(k->pidfd, (int)info.ssi_signo, NULL, 0);
}

static const char *command_name(const struct container *k)
{
	return k->config->args[0];
}

static void say_exec_failed(struct container *k, int error)
{
	k->status = error == ENOENT ? 127 : 126;
	if (error == ENOENT && !strchr(command_name(k), '/'))
		k->failed = fail(error, "exec: \"%s\": executable file not found in $PATH", command_name(k));
	else
		k->failed = fail(error, "exec: \"%s\": %s", command_name(k), strerror(error));
}

/* Whether somebody may ask for what the container used as soon as it has ended. */
static bool uses_the_users(const struct config *c)
{
	for (size_t i = 0; i < c->n_mounts; i++)
		if (c->mounts[i].source && strcmp(c->mounts[i].type, "bind") == 0)
			return true;
	return c->rootfs || c->overlay.keep_upper;
}

/* Then its mounts do not go with its last process. */
static void hold_mounts(struct container *k)
{
	char path[40];

	if (uses_the_users(k->config))
		return;
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", k->pid);
	k->left_fd = open(path, O_RDONLY | O_CLOEXEC);
}

static void hear_init(struct container *k)
{
	struct sync_packet packet;
	int passed_fd, r;

	r = sync_receive(k->sync_fd, &packet, &passed_fd);
	if (r <= 0) {
		fd_close(&k->sync_fd); /* executed, or dead */
		hold_mounts(k);
		k->deadline_ms = 0;
		return;
	}
	if (packet.kind == SYNC_TERMINAL && passed_fd >= 0 && k->terminal.master_fd < 0) {
		terminal_begin(&k->terminal, TAKE_FD(passed_fd), k->config->interactive);
	} else if (packet.kind == SYNC_EXEC) {
		terminal_end(&k->terminal);
		say_exec_failed(k, packet.error);
	} else if (packet.kind == SYNC_FAILED) {
		terminal_end(&k->terminal);
		k->status = 125;
		k->failed = fail(packet.error ? packet.error : EIO, "%s", packet.text);
	}
	fd_close(&passed_fd);
}

static void collect(struct container *k)
{
	siginfo_t info = {0};

	if (waitid(P_PIDFD, (id_t)k->pidfd, &info, WEXITED) < 0)
		return;
	k->ended = true;
	if (k->early_signal)
		k->status = 128 + k->early_signal;
	else if (!k->failed)
		k->status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

/* Init waits for something that does not come, a file server or a network file system. */
static void give_up(struct container *k)
{
	k->deadline_ms = 0;
	k->failed = -ETIMEDOUT;
	k->status = 125;
	pidfd_send_signal(k->pidfd, SIGKILL, NULL, 0);
}

static int time_left(const struct container *k)
{
	int64_t left = k->deadline_ms - clock_ms();

	return k->deadline_ms == 0 ? -1 : left < 0 ? 0 : (int)left;
}

/* Until init has ended and all it said is heard and all it wrote is written, or until it executes the command. */
static void attend(struct container *k, bool until_executed)
{
	for (;;) {
		struct pollfd p[3 + TERMINAL_POLLS] = {
			{.fd = k->ended ? -1 : k->pidfd, .events = POLLIN},
			{.fd = k->sync_fd, .events = POLLIN},
			{.fd = k->signal_fd, .events = POLLIN},
		};
		const bool has_terminal = k->terminal.master_fd >= 0;
		int n;

		if (k->ended && k->sync_fd < 0 && (!has_terminal || terminal_drained(&k->terminal)))
			return;
		if (until_executed && k->sync_fd < 0)
			return;
		if (has_terminal)
			terminal_poll(&k->terminal, p + 3);
		n = poll(p, has_terminal ? 3 + TERMINAL_POLLS : 3, time_left(k));
		if (n == 0)
			give_up(k);
		if (n <= 0)
			continue;
		if (p[1].revents)
			hear_init(k);
		if (p[2].revents)
			pass_signal(k);
		if (has_terminal && k->terminal.master_fd >= 0)
			terminal_copy(&k->terminal, p + 3);
		if (p[0].revents)
			collect(k);
	}
}

static int start(struct container *k, struct init_plan *plan)
{
	const uint64_t there = plan->stage ? stage_namespaces() : 0;
	pid_t pid = namespaces_clone(k->config->namespaces & ~there, cgroup_clone_fd(plan->cgroup), &k->pidfd);

	if (pid == 0)
		init_run(plan);
	if (pid < 0)
		return pid;
	fd_close(&plan->sync_fds[1]);
	k->sync_fd = TAKE_FD(plan->sync_fds[0]);
	k->pid = pid;
	return 0;
}

static int prepare(struct config *c, struct init_plan *plan, struct cgroup **ret_cgroup)
{
	int r = 0;

	plan->launcher_fd = init_launcher();
	if (plan->launcher_fd < 0)
		return plan->launcher_fd;
	if (c->cgroup_path)
		r = cgroup_create(c->cgroup_path, c->user_namespace, ret_cgroup);
	if (r < 0)
		return r;
	plan->cgroup = *ret_cgroup;
	/* With no rules for devices a node made by hand would open the host's disks. */
	if (!c->user_namespace && (!*ret_cgroup || !(*ret_cgroup)->devices_guarded)) {
		c->capabilities.bounding &= ~CAPS_BIT(CAP_MKNOD);
		c->capabilities.permitted &= ~CAPS_BIT(CAP_MKNOD);
		c->capabilities.effective &= ~CAPS_BIT(CAP_MKNOD);
	}
	r = sync_open(plan->sync_fds);
	return r < 0 ? fail(-r, "making a socket: %s", strerror(-r)) : 0;
}

int container_start(struct config *c, struct stage *stage, struct container **ret)
{
	_cleanup_(container_free) struct container *k = calloc(1, sizeof(*k));
	_cleanup_(fd_free_memory) int *trees = mounts_no_trees(c);
	struct init_plan plan = {.config = c, .trees = trees, .stage = stage, .sync_fds = {-1, -1}, .launcher_fd = -1,
				 .size = terminal_size()};
	int r;

	if (!k)
		return fail(ENOMEM, "out of memory");
	*k = (struct container){.config = c, .pidfd = -1, .sync_fd = -1, .signal_fd = -1, .left_fd = -1, .status = 125,
				.terminal.master_fd = -1};
	if (!trees)
		return fail(ENOMEM, "out of memory");
	r = prepare(c, &plan, &k->cgroup);
	if (r == 0)
		r = start(k, &plan);
	if (stage)
		stage_free(stage); /* its mounts are to end with the container */
	fd_close(&plan.launcher_fd);
	fd_close(&plan.sync_fds[0]);
	fd_close(&plan.sync_fds[1]);
	if (r < 0)
		return r;
	*ret = TAKE(k);
	return 0;
}

int container_go(struct container *k, int timeout_ms)
{
	k->deadline_ms = timeout_ms > 0 ? clock_ms() + timeout_ms : 0;
	k->signal_fd = take_signals(&k->signals_before);
	if (k->signal_fd < 0)
		return k->signal_fd;
	sync_go(k->sync_fd);
	return 0;
}

int container_executed(struct container *k, int *ret_left_fd)
{
	attend(k, true);
	*ret_left_fd = TAKE_FD(k->left_fd);
	return k->failed;
}

int container_wait(struct container *k, int *ret_status)
{
	attend(k, false);
	*ret_status = k->status;
	return k->failed;
}

void container_free(struct container **container)
{
	struct container *k = *container;

	if (!k)
		return;
	if (k->pidfd >= 0 && !k->ended) {
		pidfd_send_signal(k->pidfd, SIGKILL, NULL, 0);
		collect(k);
	}
	terminal_end(&k->terminal);
	cgroup_remove(k->cgroup);
	cgroup_free(&k->cgroup);
	fd_close(&k->pidfd);
	fd_close(&k->sync_fd);
	fd_close(&k->left_fd);
	if (k->signal_fd >= 0) {
		fd_close(&k->signal_fd);
		sigprocmask(SIG_SETMASK, &k->signals_before, NULL);
	}
	free(k);
	*container = NULL;
}
