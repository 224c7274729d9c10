/* `lazyrun unshare [CMD...]`: a command inside the namespaces where an ordinary user's images are mounted. */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "cli/client.h"
#include "cli/command_table.h"
#include "cli/session.h"

static volatile sig_atomic_t child_pid;

static void pass_on(int signal_number)
{
	if (child_pid > 0)
		kill(child_pid, signal_number);
}

static int not_executed(const char *command)
{
	int err = errno;

	fail(err, "%s: %s", command, err == ENOENT ? "no such command" : strerror(err));
	return err == ENOENT ? 127 : 126;
}

/* We wait beside it and hold the connection: while it is open, the server and its mounts stay. */
static int run_and_wait(char **argv)
{
	struct sigaction pass = {.sa_handler = pass_on, .sa_flags = SA_RESTART}, ignore = {.sa_handler = SIG_IGN};
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return fail(errno, "no new process: %s", strerror(errno));
	if (pid == 0) {
		execvp(argv[0], argv);
		_exit(not_executed(argv[0]));
	}
	child_pid = pid;
	/* The terminal sends these to the command itself. */
	sigaction(SIGINT, &ignore, NULL);
	sigaction(SIGQUIT, &ignore, NULL);
	sigaction(SIGTERM, &pass, NULL);
	sigaction(SIGHUP, &pass, NULL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return fail(errno, "waiting for %s: %s", argv[0], strerror(errno));
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int cmd_unshare(int argc, char **argv)
{
	_cleanup_(session_close) struct session s = {0};
	const struct option_rules rules = {.command = "unshare", .max_operands = -1, .stop_at_operand = true};
	struct options_result o;
	const char *shell = getenv("SHELL");
	char *only_shell[] = {(char *)(uintptr_t)(shell && *shell ? shell : "/bin/sh"), NULL};
	int r = command_options(&rules, argc, argv, &o);

	if (r != 0)
		return r < 0 ? r : 0;
	if (o.n_operands == 0)
		o.operands = only_shell;
	if (geteuid() == 0) {
		execvp(o.operands[0], o.operands);
		return not_executed(o.operands[0]);
	}
	r = session_open(&s);
	if (r == 0)
		r = client_join(s.client);
	if (r < 0)
		return r;
	/* Inside we are root, whose defaults are other directories. */
	if (setenv("LAZYRUN_STORE", s.store->store_path, 1) < 0 || setenv("LAZYRUN_RUN_DIR", s.store->run_path, 1) < 0)
		return -ENOMEM;
	return run_and_wait(o.operands);
}
