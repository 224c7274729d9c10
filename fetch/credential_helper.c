/* The host goes in by a file in memory (no pipe that could break), the answer comes by a pipe with
 * a deadline. */
#include "fetch/credential_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"

#define DEADLINE_MS 30000

extern char **environ;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void wipe_bytes(struct bytes *b)
{
	if (b->data)
		explicit_bzero(b->data, b->size);
	bytes_free(b);
}

static int start(const char *program, int in_fd, int out_fd, pid_t *ret)
{
	char *const arguments[] = {(char *)program, (char *)"get", NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t signals;
	int r = posix_spawn_file_actions_init(&actions);

	if (r != 0)
		return -r;
	r = posix_spawnattr_init(&attributes);
	if (r != 0) {
		posix_spawn_file_actions_destroy(&actions);
		return -r;
	}
	sigemptyset(&signals);
	posix_spawnattr_setsigmask(&attributes, &signals);
	sigaddset(&signals, SIGPIPE);
	posix_spawnattr_setsigdefault(&attributes, &signals);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	r = posix_spawn_file_actions_adddup2(&actions, in_fd, STDIN_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawnp(ret, program, &actions, &attributes, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return -r;
}

static int read_answer(int fd, const char *program, int64_t deadline, struct bytes *answer)
{
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int64_t left = deadline - now_ms();
		int ready = left > 0 ? poll(&p, 1, (int)left) : 0;
		ssize_t n;

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready == 0)
			return fail(
				ETIMEDOUT,
				"%s did not answer within %d s; does it wait for a password? Try it by hand",
				program, DEADLINE_MS / 1000);
		if (bytes_reserve(answer, 4096) < 0)
			return -ENOMEM;
		n = read(fd, answer->data + answer->size, 4096);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return fail(errno, "the answer of %s cannot be read: %m", program);
		if (n == 0)
			return bytes_terminate(answer);
		answer->size += (size_t)n;
		if (answer->size > LIMIT_HELPER_OUTPUT_SIZE)
			return fail(EFBIG, "%s answered more than %u bytes", program,
				    LIMIT_HELPER_OUTPUT_SIZE);
	}
}

/* Its exit status; one that does not end after its answer is ended. */
static int wait_for_end(pid_t pid, int64_t deadline)
{
	int status = 0;

	for (;;) {
		pid_t ended = waitpid(pid, &status, now_ms() < deadline ? WNOHANG : 0);

		if (ended == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		if (ended < 0 && errno != EINTR)
			return -errno; /* somebody else has taken it (SIGCHLD ignored) */
		if (now_ms() >= deadline)
			kill(pid, SIGKILL);
		else
			poll(NULL, 0, 2);
	}
}

int credential_helper_parse(const void *answer, size_t size, const char *program, struct auth_found *f)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	const char *username = "", *secret = "";
	int r = json_field_parse(answer, size, &o);

	if (r == 0)
		r = json_field_string(o, "Username", &username);
	if (r == 0 || r == -ENOENT)
		r = json_field_string(o, "Secret", &secret);
	if (r < 0 && r != -ENOENT)
		return r == -ENOMEM ? r
				    : fail(EBADMSG,
					   "what %s answered is not what a credential helper says",
					   program);
	if (!secret[0])
		return -ENOENT;
	if (strcmp(username, "<token>") == 0) {
		f->identity_token = strdup(secret);
		return f->identity_token ? 0 : -ENOMEM;
	}
	f->username = strdup(username);
	f->password = strdup(secret);
	return f->username && f->password ? 0 : -ENOMEM;
}

static int ask(const char *program, const char *host, struct bytes *answer, int *ret_status)
{
	_cleanup_(fd_close) int in_fd = memfd_create("host", MFD_CLOEXEC), out_fd = -1,
				pipe_fd = -1;
	int64_t deadline = now_ms() + DEADLINE_MS;
	int ends[2], r;
	pid_t pid;

	if (in_fd < 0)
		return fail(errno, "%s cannot be asked: %m", program);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return fail(errno, "%s cannot be asked: %m", program);
	pipe_fd = ends[0];
	out_fd = ends[1];
	r = fd_write_full(in_fd, host, strlen(host));
	if (r == 0 && lseek(in_fd, 0, SEEK_SET) < 0)
		r = -errno;
	if (r == 0)
		r = start(program, in_fd, out_fd, &pid);
	if (r == -ENOENT)
		return -ENOEXEC;
	if (r < 0)
		return fail(-r, "%s cannot be started: %s", program, strerror(-r));
	fd_close(&out_fd);
	r = read_answer(pipe_fd, program, deadline, answer);
	if (r < 0)
		kill(pid, SIGKILL);
	*ret_status = wait_for_end(pid, r < 0 ? 0 : deadline);
	return r;
}

int credential_helper_get(const char *helper, const char *host, struct auth_found *f)
{
	const char *server = strcmp(host, "docker.io") == 0 ? "https://index.docker.io/v1/" : host;
	_cleanup_(wipe_bytes) struct bytes answer = {0};
	char program[LIMIT_NAME_SIZE + 32];
	int status = 0, r;

	snprintf(program, sizeof(program), "docker-credential-%s", helper);
	r = ask(program, server, &answer, &status);
	if (r < 0)
		return r;
	if (status == 0)
		return credential_helper_parse(answer.data, answer.size, program, f);
	/* The protocol says "none" by failing with this text; keychains' own texts are for the
	 * user's eyes. */
	if (strstr((const char *)answer.data, "credentials not found"))
		return -ENOENT;
	return fail(EIO, "%s failed (status %d); see what it says: echo %s | %s get", program,
		    status, server, program);
}
