/* One table of connections; every socket is non-blocking and every wait is the supervisor's poll. */
#include "fs/relay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/message.h"
#include "base/report.h"
#include "fs/remembered.h"

#define CRASHES_MAX 3 /* of fetchers with a request in hand: then it is the request's fault */
#define FETCHER_PACKETS_A_TURN 64      /* then the connections have theirs */

struct packet {
	struct message_head *data; /* and the text behind it */
	size_t size;
};

struct connection {
	uint32_t id; /* 0: the slot is free */
	int fd;	     /* -1: closed, and the fetcher is yet to be told */
	pid_t pid;   /* of the command */
	struct packet request;
	unsigned crashes;     /* of fetchers that had `request` */
	bool sent;	      /* `request`, to this fetcher */
	bool known;	      /* this fetcher has had a packet of it */
	struct packet answer; /* the LAST packet, when its socket had no room */
};

struct relay {
	int listen_fd, fetcher_fd;
	int user_ns_fd, mount_ns_fd;
	const struct control *control;
	uint32_t newest_id;
	bool fetcher_full; /* its socket had no room: wait for POLLOUT */
	bool leave;
	struct connection connections[RELAY_CONNECTIONS];
	struct remembered remembered;
	uint8_t buffer[LIMIT_MESSAGE_SIZE] __attribute__((aligned(8)));
};

static void packet_free(struct packet *p)
{
	free(p->data);
	*p = (struct packet){0};
}

static int packet_copy(const void *data, size_t size, struct packet *ret)
{
	struct message_head *copy = malloc(size);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, data, size);
	*ret = (struct packet){copy, size};
	return 0;
}

static int make_listener(const struct store *store)
{
	_cleanup_(fd_close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (fd < 0)
		return fail(errno, "socket: %s", strerror(errno));
	unlinkat(store->run_fd, "socket", 0);
	/* Short, however long the run directory's path is. */
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/socket", store->run_fd);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, RELAY_CONNECTIONS) < 0)
		return fail(errno, "%s/socket cannot be made: %s", store->run_path, strerror(errno));
	return TAKE_FD(fd);
}

int relay_new(const struct store *store, int user_ns_fd, int mount_ns_fd, const struct control *control,
	      struct relay **ret)
{
	_cleanup_(relay_free) struct relay *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->fetcher_fd = -1;
	r->user_ns_fd = user_ns_fd;
	r->mount_ns_fd = mount_ns_fd;
	r->control = control;
	r->listen_fd = make_listener(store);
	if (r->listen_fd < 0)
		return r->listen_fd;
	*ret = TAKE(r);
	return 0;
}

void relay_free(struct relay **relay)
{
	struct relay *r = *relay;

	if (!r)
		return;
	fd_close(&r->listen_fd);
	fd_close(&r->fetcher_fd);
	for (size_t i = 0; i < RELAY_CONNECTIONS; i++) {
		struct connection *c = &r->connections[i];

		if (c->id)
			fd_close(&c->fd);
		packet_free(&c->request);
		packet_free(&c->answer);
	}
	remembered_free(&r->remembered);
	free(r);
	*relay = NULL;
}

/* 1: sent. 0: no room now. Negative: the other side is gone. */
static int send_packet(int socket_fd, const void *data, size_t size)
{
	if (send(socket_fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 1;
	return errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM ? 0 : -errno;
}

/* Its life is watched through its process, so an error of its socket is just "not now". */
static bool send_fetcher(struct relay *r, const void *data, size_t size)
{
	if (r->fetcher_fd < 0 || r->fetcher_full)
		return false;
	if (send_packet(r->fetcher_fd, data, size) == 1)
		return true;
	r->fetcher_full = true;
	return false;
}

static bool send_remembered(struct relay *r)
{
	struct remembered_packet *p;

	while ((p = remembered_next(&r->remembered))) {
		if (!send_fetcher(r, p->data, p->size))
			return false;
		p->sent = true;
	}
	return true;
}

/* Everything that the fetcher has not had yet, as far as its socket has room. */
static void send_waiting(struct relay *r)
{
	if (!send_remembered(r))
		return;
	for (size_t i = 0; i < RELAY_CONNECTIONS; i++) {
		struct connection *c = &r->connections[i];

		if (c->id && c->fd < 0) {
			struct message_head gone = {
				.magic = MESSAGE_MAGIC, .kind = MESSAGE_GONE, .connection = c->id};

			if (c->known && !send_fetcher(r, &gone, sizeof(gone)))
				return;
			*c = (struct connection){0};
		} else if (c->request.data && !c->sent) {
			if (!send_fetcher(r, c->request.data, c->request.size))
				return;
			c->sent = c->known = true;
		}
	}
}

void relay_set_fetcher(struct relay *r, int command_fd)
{
	r->fetcher_fd = command_fd;
	r->fetcher_full = false;
	remembered_all_unsent(&r->remembered);
	for (size_t i = 0; i < RELAY_CONNECTIONS; i++)
		r->connections[i].sent = r->connections[i].known = false;
	send_waiting(r);
}

static void close_connection(struct connection *c)
{
	fd_close(&c->fd);
	packet_free(&c->request);
	packet_free(&c->answer);
}

static struct connection *find_connection(struct relay *r, uint32_t id)
{
	for (size_t i = 0; i < RELAY_CONNECTIONS; i++)
		if (r->connections[i].id == id && id && r->connections[i].fd >= 0)
			return &r->connections[i];
	return NULL;
}

/* Progress is dropped where the command does not read; its answer is kept. */
static void deliver(struct relay *r, const struct message_head *h, size_t size)
{
	struct connection *c = find_connection(r, h->connection);
	int sent;

	if (!c || !c->request.data)
		return; /* closed meanwhile, or answered by the fetcher before */
	if (h->kind == MESSAGE_LAST)
		packet_free(&c->request);
	sent = send_packet(c->fd, h, size);
	if (sent < 0 || (sent == 0 && h->kind == MESSAGE_LAST && packet_copy(h, size, &c->answer) < 0))
		close_connection(c);
}

/* Names who is connected besides `asker`. Returns how many. */
static size_t list_users(const struct relay *r, uint32_t asker, char *text, size_t size)
{
	size_t n = 0, used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < RELAY_CONNECTIONS; i++) {
		const struct connection *c = &r->connections[i];

		if (!c->id || c->fd < 0 || c->id == asker)
			continue;
		if (used < size)
			used += (size_t)snprintf(text + used, size - used, "%s%d", n ? ", " : "", c->pid);
		n++;
	}
	return n;
}

/* Only here is it known who is connected, so only here it is decided whether to leave. */
static void decide_to_leave(struct relay *r, const struct message_head *idle)
{
	struct {
		struct message_head head;
		char text[256];
	} answer = {{.magic = MESSAGE_MAGIC, .kind = MESSAGE_LAST, .connection = idle->connection}, "{\"errno\":0}"};
	char users[100];
	size_t n = list_users(r, idle->connection, users, sizeof(users));

	if (n == 0 || idle->remember[0])
		r->leave = true;
	else
		snprintf(answer.text, sizeof(answer.text),
			 "{\"errno\":%d,\"error\":\"in use by %zu running command%s (pid %s); wait, or use --force\"}",
			 EBUSY, n, n > 1 ? "s" : "", users);
	if (idle->connection)
		deliver(r, &answer.head, sizeof(answer.head) + strlen(answer.text));
}

static bool receive_from_fetcher(struct relay *r)
{
	const struct message_head *h = (const struct message_head *)r->buffer;
	ssize_t n = recv(r->fetcher_fd, r->buffer, sizeof(r->buffer), MSG_DONTWAIT);

	/* It died with packets of ours unread. Said once; what it sent before is still to be had. */
	if (n < 0 && errno == ECONNRESET)
		n = recv(r->fetcher_fd, r->buffer, sizeof(r->buffer), MSG_DONTWAIT);
	if (n < (ssize_t)sizeof(*h) || h->magic != MESSAGE_MAGIC)
		return false;
	if (h->kind == MESSAGE_REPLY || h->kind == MESSAGE_LAST)
		deliver(r, h, (size_t)n);
	else if (h->kind == MESSAGE_IDLE)
		decide_to_leave(r, h);
	return true;
}

void relay_end_fetcher(struct relay *r)
{
	if (r->fetcher_fd < 0)
		return;
	while (receive_from_fetcher(r))
		;
	fd_close(&r->fetcher_fd);
}

/* Who asked is told, and the packet is not given to another fetcher, neither now nor as a remembered one. */
static void give_up(struct relay *r, const struct connection *c)
{
	struct {
		struct message_head head;
		char text[160];
	} answer = {{.magic = MESSAGE_MAGIC, .kind = MESSAGE_LAST, .connection = c->id}, ""};

	snprintf(answer.text, sizeof(answer.text),
		 "{\"errno\":%d,\"error\":\"the fetcher crashed %d times over this request; the log says how\"}", EIO,
		 CRASHES_MAX);
	report_note("a request of process %d is given up: the fetcher crashed %d times over it", c->pid, CRASHES_MAX);
	remembered_drop(&r->remembered, c->request.data);
	deliver(r, &answer.head, sizeof(answer.head) + strlen(answer.text));
}

void relay_fetcher_crashed(struct relay *r)
{
	for (size_t i = 0; i < RELAY_CONNECTIONS; i++) {
		struct connection *c = &r->connections[i];

		if (c->id && c->fd >= 0 && c->request.data && c->sent && ++c->crashes >= CRASHES_MAX)
			give_up(r, c);
	}
}

void relay_forget(struct relay *r)
{
	remembered_free(&r->remembered);
}

/* Who the processes are, for messages, and the way into the namespaces. */
static int answer_join(const struct relay *r, const struct connection *c)
{
	struct message_head h = {.magic = MESSAGE_MAGIC, .kind = MESSAGE_JOIN};
	char text[160];
	struct iovec parts[2] = {{&h, sizeof(h)}, {text, 0}};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};
	int fds[2] = {r->user_ns_fd, r->mount_ns_fd};

	parts[1].iov_len = (size_t)snprintf(
		text, sizeof(text), "{\"supervisor_pid\":%d,\"server_pid\":%d,\"fetcher_pid\":%d}",
		r->control->supervisor_pid, r->control->server_pid, r->control->fetcher_pid);
	if (r->user_ns_fd >= 0) {
		m.msg_control = control.room;
		m.msg_controllen = sizeof(control.room);
		control.head = (struct cmsghdr){CMSG_LEN(sizeof(fds)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), fds, sizeof(fds));
	}
	return sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int receive_from_command(struct relay *r, struct connection *c)
{
	struct message_head *h = (struct message_head *)r->buffer;
	ssize_t n = recv(c->fd, r->buffer, sizeof(r->buffer), MSG_DONTWAIT | MSG_TRUNC);
	int err;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -EPIPE;
	if (n < (ssize_t)sizeof(*h) || n > (ssize_t)sizeof(r->buffer) || h->magic != MESSAGE_MAGIC)
		return fail(EBADMSG, "a command sent what is no packet of this version; it is cut off");
	if (h->kind == MESSAGE_JOIN)
		return answer_join(r, c);
	if (h->kind != MESSAGE_REQUEST)
		return fail(EBADMSG, "a command sent a packet of kind %u; it is cut off", h->kind);
	h->connection = c->id;
	err = remembered_put(&r->remembered, h, (size_t)n);
	if (err == 0)
		err = packet_copy(h, (size_t)n, &c->request);
	c->sent = false;
	c->crashes = 0;
	return err;
}

/* Only this user: inside the user namespace it is 0, and nobody else of the host has a number. */
static bool peer_is_allowed(int socket_fd, struct ucred *ret)
{
	socklen_t size = sizeof(*ret);

	if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, ret, &size) < 0)
		return false;
	return ret->uid == geteuid() || ret->uid == 0;
}

static void accept_connection(struct relay *r)
{
	_cleanup_(fd_close) int fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	struct ucred peer;

	if (fd < 0 || !peer_is_allowed(fd, &peer))
		return;
	for (size_t i = 0; i < RELAY_CONNECTIONS; i++) {
		struct connection *c = &r->connections[i];

		if (c->id)
			continue;
		if (++r->newest_id == 0)
			r->newest_id = 1;
		*c = (struct connection){.id = r->newest_id, .fd = TAKE_FD(fd), .pid = peer.pid};
		return;
	}
}

static bool has_free_slot(const struct relay *r)
{
	for (size_t i = 0; i < RELAY_CONNECTIONS; i++)
		if (!r->connections[i].id)
			return true;
	return false;
}

size_t relay_poll(const struct relay *r, struct pollfd fds[static RELAY_POLL_MAX])
{
	size_t n = 0;

	/* A descriptor of -1 is passed over by poll(2): with a full table the backlog waits. */
	fds[n++] = (struct pollfd){.fd = has_free_slot(r) ? r->listen_fd : -1, .events = POLLIN};
	fds[n++] = (struct pollfd){.fd = r->fetcher_fd,
				   .events = (short)(POLLIN | (r->fetcher_full ? POLLOUT : 0))};
	for (size_t i = 0; i < RELAY_CONNECTIONS; i++) {
		const struct connection *c = &r->connections[i];

		if (!c->id || c->fd < 0)
			continue;
		/* One request at a time; the next one is read when this one is answered. */
		fds[n++] = (struct pollfd){
			.fd = c->fd,
			.events = (short)(POLLRDHUP | (c->answer.data ? POLLOUT : c->request.data ? 0 : POLLIN))};
	}
	return n;
}

static void serve_connection(struct relay *r, struct connection *c, short events)
{
	if (events & (POLLRDHUP | POLLHUP | POLLERR)) {
		close_connection(c);
		return;
	}
	if (events & POLLOUT && c->answer.data) {
		int sent = send_packet(c->fd, c->answer.data, c->answer.size);

		if (sent < 0)
			close_connection(c);
		else if (sent > 0)
			packet_free(&c->answer);
	} else if (events & POLLIN && receive_from_command(r, c) < 0) {
		close_connection(c);
	}
}

void relay_dispatch(struct relay *r, const struct pollfd *fds, size_t n)
{
	if (fds[1].fd >= 0 && fds[1].fd == r->fetcher_fd) {
		if (fds[1].revents & POLLOUT)
			r->fetcher_full = false;
		if (fds[1].revents & POLLIN)
			for (int i = 0; i < FETCHER_PACKETS_A_TURN && receive_from_fetcher(r); i++)
				;
	}
	for (size_t i = 0, at = 2; i < RELAY_CONNECTIONS && at < n; i++) {
		struct connection *c = &r->connections[i];

		if (!c->id || c->fd != fds[at].fd)
			continue;
		if (fds[at].revents)
			serve_connection(r, c, fds[at].revents);
		at++;
	}
	if (fds[0].revents & POLLIN)
		accept_connection(r);
	send_waiting(r);
}

bool relay_wants_to_leave(const struct relay *r)
{
	return r->leave;
}
