/* poll, then one sendmsg or recv a packet. */
#include "base/message.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"

static int wait_for(int socket_fd, short events, int timeout_ms)
{
	int64_t end = clock_ms() + timeout_ms;

	for (;;) {
		struct pollfd p = {.fd = socket_fd, .events = events};
		int64_t left = timeout_ms < 0 ? -1 : end - clock_ms();
		int r = poll(&p, 1, timeout_ms < 0 ? -1 : left < 0 ? 0 : (int)left);

		if (r > 0)
			return 0;
		if (r == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

int message_send(int socket_fd, const struct message_head *head, struct json_object *o, int timeout_ms)
{
	struct message_head h = *head;
	size_t size = 0;
	int64_t end;
	const char *text = o ? json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN, &size) : "";
	struct iovec parts[2] = {{&h, sizeof(h)}, {(void *)(uintptr_t)text, size}};
	struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};

	h.magic = MESSAGE_MAGIC;
	if (sizeof(h) + size > LIMIT_MESSAGE_SIZE)
		return -EMSGSIZE;
	end = clock_ms() + timeout_ms;
	for (;;) {
		int r;

		if (sendmsg(socket_fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		if (errno == ECONNRESET || errno == ENOTCONN)
			return -EPIPE;
		if (errno == ENOBUFS || errno == ENOMEM) { /* the kernel's memory: poll() knows nothing of it */
			if (timeout_ms >= 0 && clock_ms() >= end)
				return -errno;
			usleep(1000);
			continue;
		}
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		r = wait_for(socket_fd, POLLOUT, timeout_ms);
		if (r < 0)
			return r;
	}
}

/* Its size is asked for first: room for the largest would be mapped, touched and unmapped for each small one. */
static ssize_t receive_packet(int socket_fd, uint8_t **ret)
{
	ssize_t n = recv(socket_fd, NULL, 0, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC);
	size_t size = n < 0 ? 0 : n > LIMIT_MESSAGE_SIZE ? LIMIT_MESSAGE_SIZE : (size_t)n;

	if (n < 0)
		return n;
	free(*ret);
	*ret = malloc(size ? size : 1);
	if (!*ret)
		return -1; /* errno is ENOMEM */
	return recv(socket_fd, *ret, size, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
}

int message_receive(int socket_fd, int timeout_ms, struct message_head *ret_head,
		    struct json_object **ret_object)
{
	_cleanup_(fd_free_memory) uint8_t *packet = NULL;
	struct json_object *o = NULL;
	ssize_t n;
	int r;

	do {
		r = timeout_ms == 0 ? 0 : wait_for(socket_fd, POLLIN, timeout_ms);
		if (r < 0)
			return r;
		n = receive_packet(socket_fd, &packet);
	} while (n < 0 && (errno == EINTR || (errno == EAGAIN && timeout_ms != 0)));
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	if (n == 0)
		return -EPIPE;
	if ((size_t)n < sizeof(*ret_head))
		return -EBADMSG;
	memcpy(ret_head, packet, sizeof(*ret_head));
	if (ret_head->magic != MESSAGE_MAGIC)
		return -EBADMSG;
	if ((size_t)n > sizeof(*ret_head)) {
		r = json_field_parse(packet + sizeof(*ret_head), (size_t)n - sizeof(*ret_head), &o);
		if (r < 0)
			return r;
	}
	*ret_object = o;
	return 0;
}
