/* Fork, and what to make of a death. */
#include "fs/child.h"

#include <errno.h>
#include <fcntl.h>
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
#define APART_MS 50	  /* two starts at least, whatever ended the first: it may go on for ever */
#define LINGER_MS 50	  /* from the end of its descriptors to that of the process */
#define END_MS 1000	  /* for a kill to end it */

/* Whose last thread came to its end meanwhile. */
static void reap_lingering(struct child *c)
{
	for (size_t i = 0; i < CHILD_LINGERING; i++)
		if (c->lingering[i] && waitpid(c->lingering[i], NULL, WNOHANG) != 0)
			c->lingering[i] = 0;
}

int child_start(struct child *c, bool life)
{
	_cleanup_(fd_close) int read_fd = -1, write_fd = -1;
	pid_t supervisor = getpid();
	sigset_t none;
	int fds[2];

	c->born = clock_ms();
	c->again = c->born + DELAY_MAX_MS; /* should the fork fail */
	reap_lingering(c);
	if (life) {
		if (pipe2(fds, O_CLOEXEC) < 0)
			return fail(errno, "pipe: %s", strerror(errno));
		read_fd = fds[0];
		write_fd = fds[1];
	}
	c->pid = fork();
	if (c->pid < 0) {
		c->pid = 0;
		return fail(errno, "the %s cannot be started: fork: %s", c->name, strerror(errno));
	}
	if (c->pid == 0) {
		/* The server ends by itself when the other end of its need socket is gone; it may be stopped. */
		prctl(PR_SET_PDEATHSIG, life ? SIGCONT : SIGKILL);
		if (getppid() != supervisor)
			_exit(1);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		(void)TAKE_FD(write_fd); /* open as long as this process has descriptors */
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
	c->life_fd = TAKE_FD(read_fd);
	return 1;
}

/* Its status; where one thread lives on in the kernel, that of a kill. */
static int collect(struct child *c)
{
	struct pollfd p = {.fd = c->pid_fd, .events = POLLIN};
	int status = SIGKILL;

	reap_lingering(c);
	poll(&p, 1, LINGER_MS);
	if (waitpid(c->pid, &status, WNOHANG) == c->pid)
		return status;
	kill(c->pid, SIGKILL);
	for (size_t i = 0; i < CHILD_LINGERING; i++)
		if (c->lingering[i] == 0) {
			c->lingering[i] = c->pid;
			break;
		}
	return SIGKILL;
}

/* A kill from outside is no fault of the child's, so it is started again at once (if it has lived a moment) and does not
 * count. */
bool child_reap(struct child *c)
{
	bool quick = clock_ms() - c->born < QUICK_MS, killed;
	int status = collect(c);

	fd_close(&c->pid_fd);
	fd_close(&c->life_fd);
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
	if (c->again < c->born + APART_MS)
		c->again = c->born + APART_MS;
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
		poll(&p, 1, END_MS); /* and no longer: see life_fd */
	}
	waitpid(c->pid, NULL, WNOHANG);
	fd_close(&c->pid_fd);
	fd_close(&c->life_fd);
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
