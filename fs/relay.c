/* One table of connections; every socket is non-blocking and every wait is the supervisor's poll. */
#include "fs/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/message.h"
#include "base/report.h"
#include "base/shared.h"
#include "fs/kept.h"
#include "fs/relay_answer.h"
#include "fs/remembered.h"

#define CRASHES_MAX 3 /* of fetchers with a request in hand: then it is the request's fault */
#define FETCHER_PACKETS_A_TURN 64      /* then the connections have theirs */

struct connection {
	uint32_t id; /* 0: the slot is free */
	int fd;	     /* -1: closed, and the fetcher is yet to be told */
	pid_t pid;   /* of the command */
	size_t request_size;  /* of what lies in `requests` at this slot; 0: nothing */
	unsigned crashes;     /* of fetchers that had the request */
	bool sent;	      /* the request, to this fetcher */
	bool known;	      /* this fetcher has had a packet of it */
	size_t answer_size;   /* the same in `answers`: the LAST packet, when its socket had no room */
};

struct relay {
	int listen_fd, fetcher_fd;
	int user_ns_fd, mount_ns_fd;
	const struct control *control;
	uint32_t newest_id;
	bool fetcher_full; /* its socket had no room: wait for POLLOUT */
	bool leave;
	int program_fd;		/* what is to take over; -1 */
	uint32_t replacing_id;	/* the connection that asked for that */
	struct connection connections[RELAY_CONNECTIONS];
	struct remembered remembered;
	_Alignas(4096) uint8_t buffer[LIMIT_MESSAGE_SIZE];
	uint8_t requests[RELAY_CONNECTIONS][LIMIT_MESSAGE_SIZE]; /* by the connection's slot */
	uint8_t answers[RELAY_CONNECTIONS][LIMIT_MESSAGE_SIZE];
};

static struct message_head *request_of(struct relay *r, const struct connection *c)
{
	return (struct message_head *)r->requests[c - r->connections];
}

static struct message_head *answer_of(struct relay *r, const struct connection *c)
{
	return (struct message_head *)r->answers[c - r->connections];
}

static void drop_request(struct relay *r, struct connection *c)
{
	shared_release(request_of(r, c), c->request_size ? LIMIT_MESSAGE_SIZE : 0);
	c->request_size = 0;
}

static void drop_answer(struct relay *r, struct connection *c)
{
	shared_release(answer_of(r, c), c->answer_size ? LIMIT_MESSAGE_SIZE : 0);
	c->answer_size = 0;
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

int relay_new(const struct store *store, int user_ns_fd, int mount_ns_fd, const struct control *control, int *ret_fd,
	      struct relay **ret)
{
	_cleanup_(relay_free) struct relay *r = NULL;
	_cleanup_(fd_close) int memory_fd = -1;
	void *at;
	int err = shared_make("lazyrun-relay", sizeof(*r), &memory_fd, &at);

	if (err < 0)
		return err;
	r = at;
	r->fetcher_fd = r->listen_fd = r->program_fd = -1;
	remembered_init(&r->remembered);
	r->user_ns_fd = user_ns_fd;
	r->mount_ns_fd = mount_ns_fd;
	r->control = control;
	r->listen_fd = make_listener(store);
	if (r->listen_fd < 0)
		return r->listen_fd;
	*ret_fd = TAKE_FD(memory_fd);
	*ret = TAKE(r);
	return 0;
}

int relay_again(int memory_fd, const struct control *control, struct relay **ret)
{
	struct relay *r;
	void *at;
	int err = shared_map(memory_fd, sizeof(*r), &at);

	if (err < 0)
		return err;
	r = at;
	r->control = control;
	*ret = r;
	return 0;
}

size_t relay_size(void)
{
	return sizeof(struct relay);
}

size_t relay_descriptors(const struct relay *r, int fds[static RELAY_FDS_MAX])
{
	const int own[] = {r->listen_fd, r->fetcher_fd, r->program_fd};
	size_t n = 0;

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (own[i] >= 0)
			fds[n++] = own[i];
	for (size_t i = 0; i < RELAY_CONNECTIONS; i++)
		if (r->connections[i].id && r->connections[i].fd >= 0)
			fds[n++] = r->connections[i].fd;
	return n;
}

void relay_unmap(struct relay **relay)
{
	shared_unmap(*relay, sizeof(**relay));
	*relay = NULL;
}

void relay_free(struct relay **relay)
{
	int fds[RELAY_FDS_MAX];
	size_t n = *relay ? relay_descriptors(*relay, fds) : 0;

	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	relay_unmap(relay);
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
	const struct message_head *h;
	struct remembered_packet *p;

	while ((p = remembered_next(&r->remembered, &h))) {
		if (!send_fetcher(r, h, p->size))
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
		} else if (c->request_size && !c->sent) {
			if (!send_fetcher(r, request_of(r, c), c->request_size))
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
	for (size_t i = 0; i < RELAY_CONNECTIONS; i++) {
		struct connection *c = &r->connections[i];

		if (c->sent && c->request_size)
			request_of(r, c)->kind = MESSAGE_AGAIN; /* it may have been done all the same */
		c->sent = c->known = false;
	}
	send_waiting(r);
}

static void close_connection(struct relay *r, struct connection *c)
{
	fd_close(&c->fd);
	drop_request(r, c);
	drop_answer(r, c);
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

	if (!c || !c->request_size)
		return; /* closed meanwhile, or answered by the fetcher before */
	if (h->kind == MESSAGE_LAST)
		drop_request(r, c);
	sent = send_packet(c->fd, h, size);
	if (sent < 0) {
		close_connection(r, c);
	} else if (sent == 0 && h->kind == MESSAGE_LAST) {
		memcpy(answer_of(r, c), h, size);
		c->answer_size = size;
	}
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
	struct connection *asker = find_connection(r, idle->connection);
	char users[100], text[RELAY_ANSWER_TEXT] = "";
	size_t n = list_users(r, idle->connection, users, sizeof(users));

	if (n == 0 || idle->remember[0])
		r->leave = true;
	else
		snprintf(text, sizeof(text), "in use by %zu running command%s (pid %s); wait, or use --force", n,
			 n > 1 ? "s" : "", users);
	if (!asker || !asker->request_size)
		return; /* gone meanwhile, or the fetcher itself is idle */
	drop_request(r, asker);
	relay_answer_last(asker->fd, asker->id, r->leave ? 0 : EBUSY, text);
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
static void give_up(struct relay *r, struct connection *c)
{
	char text[RELAY_ANSWER_TEXT];

	snprintf(text, sizeof(text), "the fetcher crashed %d times over this request; the log says how", CRASHES_MAX);
	report_note("a request of process %d is given up: the fetcher crashed %d times over it", c->pid, CRASHES_MAX);
	remembered_drop(&r->remembered, request_of(r, c));
	drop_request(r, c);
	relay_answer_last(c->fd, c->id, EIO, text);
}

void relay_fetcher_crashed(struct relay *r)
{
	for (size_t i = 0; i < RELAY_CONNECTIONS; i++) {
		struct connection *c = &r->connections[i];

		if (c->id && c->fd >= 0 && c->request_size && c->sent && ++c->crashes >= CRASHES_MAX)
			give_up(r, c);
	}
}

void relay_forget(struct relay *r)
{
	remembered_init(&r->remembered);
}

/* A newer program wants to be what this process executes. It says how it lays out what it would take over. */
static int receive_replace(struct relay *r, const struct connection *c, size_t size, int *program_fd)
{
	struct kept_format theirs, ours;

	kept_format_here(&ours);
	if (size != sizeof(struct message_head) + sizeof(theirs) || *program_fd < 0)
		return fail(EBADMSG, "a command sent a broken packet; it is cut off");
	memcpy(&theirs, r->buffer + sizeof(struct message_head), sizeof(theirs));
	if (memcmp(&theirs, &ours, sizeof(ours)) != 0) {
		report_note("process %d wanted to replace this server, and keeps its state in another form", c->pid);
		relay_answer_last(c->fd, c->id, EOPNOTSUPP,
			       "the running server and this program keep their state in different forms, so it cannot be "
			       "handed over; when its containers have ended: lazyrun stop-server");
	} else if (r->program_fd >= 0) {
		relay_answer_last(c->fd, c->id, EBUSY, "another program is taking over right now; try again");
	} else {
		r->program_fd = TAKE_FD(*program_fd);
		r->replacing_id = c->id;
	}
	return 0;
}

static int receive_from_command(struct relay *r, struct connection *c)
{
	_cleanup_(fd_close) int program_fd = -1;
	struct message_head *h = (struct message_head *)r->buffer;
	ssize_t n = relay_answer_receive(c->fd, r->buffer, sizeof(r->buffer), &program_fd);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -EPIPE;
	if (n < (ssize_t)sizeof(*h) || n > (ssize_t)sizeof(r->buffer) || h->magic != MESSAGE_MAGIC)
		return fail(EBADMSG, "a command sent what is no packet of this version; it is cut off");
	if (h->kind == MESSAGE_JOIN)
		return relay_answer_join(c->fd, r->control, r->user_ns_fd, r->mount_ns_fd);
	if (h->kind == MESSAGE_REPLACE)
		return receive_replace(r, c, (size_t)n, &program_fd);
	if (h->kind != MESSAGE_REQUEST)
		return fail(EBADMSG, "a command sent a packet of kind %u; it is cut off", h->kind);
	h->connection = c->id;
	remembered_put(&r->remembered, h, (size_t)n);
	memcpy(request_of(r, c), h, (size_t)n);
	c->request_size = (size_t)n;
	c->sent = false;
	c->crashes = 0;
	return 0;
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
			.events = (short)(POLLRDHUP | (c->answer_size ? POLLOUT : c->request_size ? 0 : POLLIN))};
	}
	return n;
}

static void serve_connection(struct relay *r, struct connection *c, short events)
{
	if (events & (POLLRDHUP | POLLHUP | POLLERR)) {
		close_connection(r, c);
		return;
	}
	if (events & POLLOUT && c->answer_size) {
		int sent = send_packet(c->fd, answer_of(r, c), c->answer_size);

		if (sent < 0)
			close_connection(r, c);
		else if (sent > 0)
			drop_answer(r, c);
	} else if (events & POLLIN && receive_from_command(r, c) < 0) {
		close_connection(r, c);
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

int relay_wants_program(const struct relay *r)
{
	return r->program_fd;
}

void relay_replaced(struct relay *r, int err)
{
	const struct connection *c = find_connection(r, r->replacing_id);

	fd_close(&r->program_fd);
	if (c)
		relay_answer_last(c->fd, c->id, -err, err < 0 ? "the program could not be executed; the server's log says why" : "");
	r->replacing_id = 0;
}
