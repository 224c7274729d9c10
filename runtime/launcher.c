/* The last program of ours in a container: it finds and executes the command, or with "init" stays as process 1.
 *
 * It exists so that no process in a container ever runs from lazyrun's own file: /proc/self/exe of this one is a
 * sealed memfd that nobody can write to (CVE-2019-5736). No C library: it is a few pages, and starts at once.
 * Arguments: "exec" or "init", then the command. Descriptor 3 is the sync socket (sync.h).
 */
#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/limits.h>
#include <linux/signal.h>
#include <linux/wait.h>

#include "runtime/launcher_calls.h"

#define SYNC_FD 3
#define SYNC_EXEC 2
#define SET_NAME 15 /* PR_SET_NAME */
#define TERMINAL_SET_GROUP 0x5410 /* TIOCSPGRP, the same on these machines */

static char path_buffer[PATH_MAX];
static struct {
	unsigned int kind;
	int error;
	char text[1];
} packet = {.kind = SYNC_EXEC};

static long size_of(const char *text)
{
	long n = 0;

	while (text[n])
		n++;
	return n;
}

static const char *find_path(char **env)
{
	for (; *env; env++)
		if ((*env)[0] == 'P' && (*env)[1] == 'A' && (*env)[2] == 'T' && (*env)[3] == 'H' && (*env)[4] == '=')
			return *env + 5;
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

static long try(const char *file, char **argv, char **env)
{
	return call4(__NR_execve, (long)file, (long)argv, (long)env, 0);
}

/* As execvpe(3): a name without '/' is looked for in PATH; what may not be executed is said in the end. */
static long execute(char **argv, char **env)
{
	const char *name = argv[0], *at = find_path(env);
	long name_size = size_of(name), error = -ENOENT;

	for (long i = 0; i < name_size; i++)
		if (name[i] == '/')
			return try(name, argv, env);
	if (name_size == 0)
		return -ENOENT;
	for (;;) {
		long n = 0, r;

		while (at[n] && at[n] != ':')
			n++;
		if (n + name_size + 2 < PATH_MAX && n > 0) { /* an empty element would be the current directory */
			for (long i = 0; i < n; i++)
				path_buffer[i] = at[i];
			path_buffer[n] = '/';
			for (long i = 0; i <= name_size; i++)
				path_buffer[n + 1 + i] = name[i];
			r = try(path_buffer, argv, env);
			if (r != -ENOENT && r != -ENOTDIR && r != -EACCES)
				return r;
			if (r == -EACCES)
				error = r;
		}
		if (!at[n])
			return error;
		at += n + 1;
	}
}

static void __attribute__((noreturn)) leave(long status)
{
	for (;;)
		call4(__NR_exit_group, status, 0, 0, 0);
}

static void __attribute__((noreturn)) execute_or_leave(char **argv, char **env)
{
	packet.error = (int)-execute(argv, env);
	call4(__NR_write, SYNC_FD, (long)&packet, 9, 0);
	leave(packet.error == ENOENT ? 127 : 126);
}

static long signal_mask(int how, const unsigned long *set)
{
	return call4(__NR_rt_sigprocmask, how, (long)set, 0, sizeof(*set));
}

/* A process group of its own that owns the terminal, so that ^C reaches it once and not us. */
static void __attribute__((noreturn)) become_command(char **argv, char **env)
{
	const unsigned long none = 0;
	int group = (int)call4(__NR_getpid, 0, 0, 0, 0);

	call4(__NR_setpgid, 0, 0, 0, 0);
	call4(__NR_ioctl, 0, TERMINAL_SET_GROUP, (long)&group, 0);
	signal_mask(SIG_SETMASK, &none);
	execute_or_leave(argv, env);
}

static long reap(long command)
{
	for (;;) {
		int status;
		long pid = call4(__NR_wait4, -1, (long)&status, WNOHANG, 0);

		if (pid <= 0)
			return -1;
		if (pid == command)
			return status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff;
	}
}

static void __attribute__((noreturn)) be_init(char **argv, char **env)
{
	const unsigned long all = ~0ul;
	long command, status;

	call4(__NR_prctl, SET_NAME, (long)"lazyrun-init", 0, 0); /* else it is the descriptor's number */
	signal_mask(SIG_SETMASK, &all);
	command = call4(__NR_clone, SIGCHLD, 0, 0, 0);
	if (command == 0)
		become_command(argv, env);
	call4(__NR_close, SYNC_FD, 0, 0, 0);
	if (command < 0)
		leave(125);
	for (;;) {
		long number = call4(__NR_rt_sigtimedwait, (long)&all, 0, 0, sizeof(all));

		if (number == SIGCHLD) {
			status = reap(command);
			if (status >= 0)
				leave(status);
		} else if (number > 0) {
			call4(__NR_kill, command, number, 0, 0);
		}
	}
}

long launcher_main(long *stack)
{
	char **argv = (char **)(stack + 1), **env = argv + stack[0] + 1;

	if (stack[0] < 2 || call4(__NR_fcntl, SYNC_FD, F_SETFD, 1 /* FD_CLOEXEC */, 0) < 0)
		leave(125);
	if (argv[0][0] == 'i')
		be_init(argv + 1, env);
	execute_or_leave(argv + 1, env);
}
