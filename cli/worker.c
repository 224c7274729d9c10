/* fork, a counter in shared memory, and a pidfd with a deadline. */
#include "cli/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "cli/session.h"

static _Atomic unsigned int *steps; /* shared by both */

void worker_step(void)
{
	if (steps)
		atomic_fetch_add(steps, 1);
}

/* 1: ended. 0: no step for `seconds`. */
static int wait_for_end(int pid_fd, int seconds)
{
	struct pollfd p = {.fd = pid_fd, .events = POLLIN};
	unsigned int seen = atomic_load(steps);

	for (;;) {
		int r = poll(&p, 1, seconds * 1000);

		if (r > 0)
			return 1;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r == 0 && atomic_load(steps) == seen)
			return 0;
		seen = atomic_load(steps);
	}
}

static int watch(struct client *c, const char *what, pid_t pid, int *ret_code)
{
	_cleanup_(fd_close) int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	int seconds, status, r = pid_fd < 0 ? -errno : session_timeout(&seconds);

	if (r == 0)
		r = wait_for_end(pid_fd, seconds ? seconds : CLIENT_TIMEOUT);
	if (r <= 0) {
		if (r == 0)
			r = client_blame(c, what);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		return r;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	*ret_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	return 1;
}

int worker_start(struct client *c, const char *what, int *ret_code)
{
	pid_t watcher = getpid(), pid;

	steps = mmap(NULL, sizeof(*steps), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (steps == MAP_FAILED) {
		steps = NULL;
		return -ENOMEM;
	}
	fflush(stdout); /* what is buffered must not be written twice */
	pid = fork();
	if (pid < 0)
		return fail(errno, "no new process: %s", strerror(errno));
	if (pid > 0)
		return watch(c, what, pid, ret_code);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != watcher) /* it died before prctl() */
		_exit(1);
	return 0;
}
