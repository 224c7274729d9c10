/* Connecting, starting a server, waiting with a deadline, and naming who is silent. */
#include "cli/client.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/message.h"
#include "base/report.h"
#include "cli/program.h"

#define START_MS 10000 /* for a server to become ready */
#define BLAME_MS 2000  /* for the supervisor to say who it is, when something is silent */

struct client {
	const struct store *store;
	int socket_fd;
	int timeout; /* seconds */
	char waiting_for[512]; /* the registry that the fetcher says it waits for; "" */
	bool start; /* a server where none runs */
	bool retried;
	pid_t supervisor_pid;
	struct json_object *request; /* not answered yet */
	uint8_t remember[16];
};

/* What MESSAGE_JOIN answers. */
struct peers {
	int supervisor_pid, server_pid, fetcher_pid;
	int user_ns_fd, mount_ns_fd; /* -1 for root */
};

static void peers_free(struct peers *p)
{
	fd_close(&p->user_ns_fd);
	fd_close(&p->mount_ns_fd);
}

/* -ENOENT: nobody listens. -EAGAIN: somebody does, but too many wait. Bare. */
static int connect_once(const struct store *s, int *ret_fd)
{
	_cleanup_(fd_close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (fd < 0)
		return -errno;
	/* Short, however long the run directory's path is. */
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/socket", s->run_fd);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return errno == ECONNREFUSED ? -ENOENT : -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static void execute_server(const struct store *s, int ready_fd)
{
	char program[PATH_MAX], number[16];
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (program_find_image(program) < 0)
		_exit(1);
	snprintf(number, sizeof(number), "%d", ready_fd);
	/* Its errors, until it is ready, are for this command's user. */
	if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0 ||
	    fcntl(ready_fd, F_SETFD, 0) < 0)
		_exit(1);
	setenv("LAZYRUN_STORE", s->store_path, 1);
	setenv("LAZYRUN_RUN_DIR", s->run_path, 1);
	execl(program, program, "serve", "--ready-fd", number, (char *)NULL);
	fail(errno, "%s cannot be executed: %s", program, strerror(errno));
	_exit(1);
}

static int start_server(const struct store *s)
{
	_cleanup_(fd_close) int read_fd = -1, write_fd = -1;
	struct pollfd p;
	char answer;
	int pipe_fds[2];
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return fail(errno, "pipe: %s", strerror(errno));
	read_fd = pipe_fds[0];
	write_fd = pipe_fds[1];
	pid = fork();
	if (pid < 0)
		return fail(errno, "fork: %s", strerror(errno));
	if (pid == 0)
		execute_server(s, write_fd);
	fd_close(&write_fd);
	p = (struct pollfd){.fd = read_fd, .events = POLLIN};
	if (poll(&p, 1, START_MS) <= 0)
		return fail(ETIMEDOUT, "the server did not become ready within %d seconds; its log is %s/log",
			    START_MS / 1000, s->run_path);
	/* The child forks the server and ends, so this does not wait. */
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (read(read_fd, &answer, 1) != 1)
		return fail(ECHILD, "the server could not be started; its log is %s/log", s->run_path);
	return 0; /* ready, or lost to one that is */
}

static int connect_or_start(const struct store *s, bool start, int *ret_fd)
{
	int64_t deadline = clock_ms() + START_MS;
	int r;

	for (;;) {
		r = connect_once(s, ret_fd);
		if (r == 0 || (r == -ENOENT && !start))
			return r;
		if (r != -ENOENT && r != -EAGAIN)
			return fail(-r, "%s/socket: %s", s->run_path, strerror(-r));
		if (clock_left(deadline) == 0)
			return fail(ETIMEDOUT, "no server listens at %s/socket; its log is %s/log", s->run_path,
				    s->run_path);
		if (r == -ENOENT) {
			r = start_server(s);
			if (r < 0)
				return r;
		} else {
			poll(NULL, 0, 10);
		}
	}
}

static int reconnect(struct client *c)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	int r;

	fd_close(&c->socket_fd);
	r = connect_or_start(c->store, c->start, &c->socket_fd);
	if (r < 0)
		return r;
	if (getsockopt(c->socket_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return fail(errno, "who serves %s: %s", c->store->run_path, strerror(errno));
	if (peer.uid != geteuid() && peer.uid != 0)
		return fail(EACCES, "%s/socket is served by user %u, not by you; choose another place with --run-dir DIR",
			    c->store->run_path, peer.uid);
	c->supervisor_pid = peer.pid;
	return 0;
}

static int open_client(const struct store *s, int timeout, bool start, struct client **ret)
{
	_cleanup_(client_free) struct client *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->store = s;
	c->socket_fd = -1;
	c->timeout = timeout > 0 ? timeout : CLIENT_TIMEOUT;
	c->start = start;
	r = reconnect(c);
	if (r < 0)
		return r;
	*ret = TAKE(c);
	return 0;
}

int client_open(const struct store *s, int timeout, struct client **ret)
{
	return open_client(s, timeout, true, ret);
}

int client_open_running(const struct store *s, int timeout, struct client **ret)
{
	return open_client(s, timeout, false, ret);
}

void client_free(struct client **client)
{
	struct client *c = *client;

	if (!c)
		return;
	fd_close(&c->socket_fd);
	json_field_free(&c->request);
	free(c);
	*client = NULL;
}

pid_t client_supervisor_pid(const struct client *c)
{
	return c->supervisor_pid;
}

static int parse_peers(const void *text, size_t size, struct peers *p)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	uint64_t pids[3];
	int r = json_field_parse(text, size, &o);

	if (r == 0)
		r = json_field_u64(o, "supervisor_pid", &pids[0]);
	if (r == 0)
		r = json_field_u64(o, "server_pid", &pids[1]);
	if (r == 0)
		r = json_field_u64(o, "fetcher_pid", &pids[2]);
	if (r < 0)
		return r;
	p->supervisor_pid = (int)pids[0];
	p->server_pid = (int)pids[1];
	p->fetcher_pid = (int)pids[2];
	return 0;
}

static int receive_join(int socket_fd, struct peers *ret)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	char packet[512];
	struct iovec part = {packet, sizeof(packet)};
	struct msghdr m = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	_cleanup_(peers_free) struct peers p = {.user_ns_fd = -1, .mount_ns_fd = -1};
	struct message_head h;
	ssize_t n = recvmsg(socket_fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	int fds[2], r;

	if (n <= 0)
		return n == 0 || errno == ECONNRESET ? -EPIPE : -errno;
	if (m.msg_controllen >= CMSG_LEN(sizeof(fds)) && control.head.cmsg_type == SCM_RIGHTS &&
	    control.head.cmsg_len == CMSG_LEN(sizeof(fds))) {
		memcpy(fds, CMSG_DATA(&control.head), sizeof(fds));
		p.user_ns_fd = fds[0];
		p.mount_ns_fd = fds[1];
	}
	if ((size_t)n < sizeof(h))
		return -EBADMSG;
	memcpy(&h, packet, sizeof(h));
	if (h.magic != MESSAGE_MAGIC || h.kind != MESSAGE_JOIN)
		return -EBADMSG;
	r = parse_peers(packet + sizeof(h), (size_t)n - sizeof(h), &p);
	if (r < 0)
		return r;
	*ret = p;
	p.user_ns_fd = p.mount_ns_fd = -1;
	return 0;
}

/* Answered by the supervisor alone. All errors bare. */
static int ask_peers(int socket_fd, int timeout_ms, struct peers *ret)
{
	struct message_head h = {.kind = MESSAGE_JOIN};
	struct pollfd p = {.fd = socket_fd, .events = POLLIN};
	int64_t deadline = clock_ms() + timeout_ms;
	int r = message_send(socket_fd, &h, NULL, timeout_ms);

	if (r < 0)
		return r;
	for (;;) {
		r = poll(&p, 1, clock_left(deadline));
		if (r == 0)
			return -ETIMEDOUT;
		if (r > 0)
			return receive_join(socket_fd, ret);
		if (errno != EINTR)
			return -errno;
	}
}

static bool is_stopped(int pid)
{
	_cleanup_(bytes_free) struct bytes stat = {0};
	char path[32];
	const char *state;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (pid <= 0 || fd_read_file(AT_FDCWD, path, 4096, &stat) < 0)
		return false;
	state = strrchr((const char *)stat.data, ')');
	return state && (strncmp(state, ") T", 3) == 0 || strncmp(state, ") t", 3) == 0);
}

int client_blame(struct client *c, const char *what)
{
	_cleanup_(peers_free) struct peers p = {.user_ns_fd = -1, .mount_ns_fd = -1};
	_cleanup_(fd_close) int fd = -1;
	const char *who = "fetcher";
	int pid;

	/* On a connection of its own: on ours, the supervisor reads nothing until the request is answered. */
	if (connect_once(c->store, &fd) < 0 || ask_peers(fd, BLAME_MS, &p) < 0) {
		return fail(ETIMEDOUT, "no answer while waiting for %s: the supervisor (pid %d) is %s; its log is %s/log",
			    what, c->supervisor_pid,
			    is_stopped(c->supervisor_pid) ? "stopped by a signal" : "silent", c->store->run_path);
	}
	pid = p.fetcher_pid;
	if (!is_stopped(pid) && is_stopped(p.server_pid)) {
		who = "server";
		pid = p.server_pid;
	}
	return fail(ETIMEDOUT, "no answer while waiting for %s: the %s (pid %d) is %s; its log is %s/log", what, who,
		    pid, is_stopped(pid) ? "stopped by a signal" : "silent", c->store->run_path);
}

static const char *operation(const struct client *c)
{
	const char *op;

	return c->request && json_field_string(c->request, "op", &op) == 0 ? op : "the server";
}

static int timed_out(struct client *c)
{
	char what[128];

	if (c->waiting_for[0])
		return fail(ETIMEDOUT, "no answer from %s for %d seconds; is it up, and can it be reached from here?",
			    c->waiting_for, c->timeout);
	snprintf(what, sizeof(what), "\"%s\" (%d seconds without progress)", operation(c), c->timeout);
	return client_blame(c, what);
}

static int send_request(struct client *c)
{
	struct message_head h = {.kind = MESSAGE_REQUEST};
	int r;

	memcpy(h.remember, c->remember, sizeof(h.remember));
	r = message_send(c->socket_fd, &h, c->request, c->timeout * 1000);
	if (r == -ETIMEDOUT)
		return timed_out(c);
	if (r == -EMSGSIZE)
		return fail(EMSGSIZE, "the request \"%s\" is too large for a packet", operation(c));
	return r;
}

/* The server left or died between our connect and its answer: its successor gets the same request. */
static int try_again(struct client *c)
{
	int r;

	if (c->retried)
		return fail(EPIPE, "the server ended while \"%s\" was under way; its log is %s/log", operation(c),
			    c->store->run_path);
	c->retried = true;
	r = reconnect(c);
	if (r < 0 || !c->request)
		return r;
	r = send_request(c);
	return r == -EPIPE ? try_again(c) : r;
}

int client_send(struct client *c, struct json_object *request, const uint8_t *remember)
{
	int r;

	json_field_free(&c->request);
	c->request = json_object_get(request);
	memset(c->remember, 0, sizeof(c->remember));
	if (remember)
		memcpy(c->remember, remember, sizeof(c->remember));
	c->retried = false;
	r = send_request(c);
	return r == -EPIPE ? try_again(c) : r;
}

/* The answer says itself whether it is an error. */
static int check_answer(struct client *c, const struct json_object *answer)
{
	const char *text = NULL;
	uint64_t err = 0;
	int r = answer ? json_field_u64(answer, "errno", &err) : -EBADMSG;

	if (r == -ENOENT)
		r = 0;
	if (r < 0 || err > 4095)
		return fail(EBADMSG, "the server's answer to \"%s\" is not understood: is it of another version?",
			    operation(c));
	if (err == 0)
		return 0;
	if (json_field_string(answer, "error", &text) < 0)
		text = strerror((int)err);
	return fail((int)err, "%s", text);
}

/* No progress, but it tells whom to name when none comes. */
static bool is_waiting(struct client *c, const struct json_object *o)
{
	const char *event = "", *name = "";

	if (!o || json_field_string(o, "event", &event) < 0 || strcmp(event, "waiting") != 0)
		return false;
	json_field_string(o, "for", &name);
	snprintf(c->waiting_for, sizeof(c->waiting_for), "%s", name);
	return true;
}

int client_receive(struct client *c, struct json_object **ret)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	int64_t deadline = clock_ms() + c->timeout * INT64_C(1000);
	struct message_head h;
	int r;

	c->waiting_for[0] = '\0';
	for (;;) {
		json_field_free(&o);
		r = message_receive(c->socket_fd, clock_left(deadline), &h, &o);
		if (r == 0 && h.kind == MESSAGE_REPLY && is_waiting(c, o))
			continue;
		if (r != -EPIPE)
			break;
		r = try_again(c);
		if (r < 0)
			return r;
	}
	if (r == -ETIMEDOUT)
		return timed_out(c);
	if (r < 0)
		return fail(-r, "the server's answer to \"%s\": %s", operation(c), strerror(-r));
	if (h.kind == MESSAGE_REPLY) {
		*ret = TAKE(o);
		return 1;
	}
	r = h.kind == MESSAGE_LAST ? check_answer(c, o) : fail(EBADMSG, "the server sent a packet of kind %u", h.kind);
	json_field_free(&c->request);
	if (r < 0)
		return r;
	*ret = TAKE(o);
	return 0;
}

int client_request(struct client *c, struct json_object *request, const uint8_t *remember,
		   struct json_object **ret)
{
	int r = client_send(c, request, remember);

	if (r < 0)
		return r;
	for (;;) {
		struct json_object *o = NULL;

		r = client_receive(c, &o);
		if (r <= 0) {
			if (r == 0)
				*ret = o;
			return r;
		}
		json_object_put(o);
	}
}

static bool is_here(int namespace_fd, const char *own)
{
	struct stat a, b;

	return fstat(namespace_fd, &a) == 0 && stat(own, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* setns(2) into a mount namespace moves the working directory to its root. */
static int enter(const struct peers *p)
{
	_cleanup_(fd_free_memory) char *cwd = getcwd(NULL, 0);

	if (!is_here(p->user_ns_fd, "/proc/self/ns/user")) {
		if (setns(p->user_ns_fd, CLONE_NEWUSER) < 0)
			return fail(errno, "the server's user namespace cannot be joined: %s", strerror(errno));
		if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
			return fail(errno, "root of the server's user namespace cannot be had: %s", strerror(errno));
	}
	if (!is_here(p->mount_ns_fd, "/proc/self/ns/mnt") && setns(p->mount_ns_fd, CLONE_NEWNS) < 0)
		return fail(errno, "the server's mount namespace cannot be joined: %s", strerror(errno));
	if (!cwd || chdir(cwd) < 0)
		return chdir("/") < 0 ? -errno : 0;
	return 0;
}

bool client_has_to_join(void)
{
	return geteuid() != 0;
}

int client_join(struct client *c)
{
	_cleanup_(peers_free) struct peers p = {.user_ns_fd = -1, .mount_ns_fd = -1};
	int r;

	if (!client_has_to_join())
		return 0;
	r = ask_peers(c->socket_fd, c->timeout * 1000, &p);
	if (r == -EPIPE) {
		r = reconnect(c);
		if (r < 0)
			return r;
		r = ask_peers(c->socket_fd, c->timeout * 1000, &p);
	}
	if (r == -ETIMEDOUT)
		return client_blame(c, "the server's namespaces");
	if (r < 0)
		return fail(-r, "the server does not hand out its namespaces: %s", strerror(-r));
	return p.user_ns_fd < 0 ? 0 : enter(&p);
}
