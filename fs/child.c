/* Fork, and what to make of a death. */
#include "fs/child.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/report.h"

#define QUICK_MS 1000	  /* a child that lived shorter died quickly */
#define DELAY_MAX_MS 1000 /* before it is started again */

int child_start(struct child *c)
{
	pid_t supervisor = getpid();
	sigset_t none;

	c->born = clock_ms();
	c->again = c->born + DELAY_MAX_MS; /* should the fork fail */
	c->pid = fork();
	if (c->pid < 0) {
		c->pid = 0;
		return fail(errno, "the %s cannot be started: fork: %s", c->name, strerror(errno));
	}
	if (c->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != supervisor)
			_exit(1);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		return 0;
	}
	c->pid_fd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	if (c->pid_fd < 0) {
		int r = fail(errno, "the %s cannot be watched: pidfd_open: %s (Linux 5.3 is needed)", c->name,
			     strerror(errno));

		kill(c->pid, SIGKILL);
		waitpid(c->pid, NULL, 0);
		c->pid = 0;
		return r;
	}
	return 1;
}

/* A kill from outside is no fault of the child's, so it is started again at once and does not count. */
bool child_reap(struct child *c)
{
	bool quick = clock_ms() - c->born < QUICK_MS, killed;
	int status = 0;

	waitpid(c->pid, &status, 0);
	fd_close(&c->pid_fd);
	c->pid = 0;
	c->crashed = false;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	killed = WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM);
	report_note("the %s ended by %s %d and is started again", c->name, WIFSIGNALED(status) ? "signal" : "exit code",
		    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	c->crashed = !killed;
	c->quick_deaths = quick && !killed ? c->quick_deaths + 1 : 0;
	c->again = clock_ms();
	if (c->quick_deaths > 0)
		c->again += c->quick_deaths > 6 ? DELAY_MAX_MS : 8 << c->quick_deaths;
	return false;
}

void child_end(struct child *c, int64_t deadline)
{
	struct pollfd p = {.fd = c->pid_fd, .events = POLLIN};
	int r;

	if (c->pid == 0)
		return;
	do
		r = poll(&p, 1, clock_left(deadline));
	while (r < 0 && errno == EINTR);
	if (r == 0) {
		report_note("the %s (pid %d) did not end by itself and is killed", c->name, c->pid);
		kill(c->pid, SIGKILL);
	}
	waitpid(c->pid, NULL, 0);
	fd_close(&c->pid_fd);
	c->pid = 0;
}

void child_drop_capabilities(uint32_t keep)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{keep, keep, 0}, {0, 0, 0}};

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &head, data) < 0)
		report_note("capabilities could not be dropped: %s", strerror(errno));
}
