/* One packet a message; descriptors travel beside it. */
#include "runtime/sync.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

int sync_open(int fds[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0 ? -errno : 0;
}

void sync_go(int fd)
{
	send(fd, "", 1, MSG_NOSIGNAL); /* an init that is gone is noticed elsewhere */
}

void sync_wait(int fd)
{
	char go;
	ssize_t n;

	do
		n = recv(fd, &go, 1, 0);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		_exit(125);
}

int sync_send(int fd, enum sync_kind kind, int error, const char *text, int pass_fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct sync_packet p = {.kind = kind, .error = error};
	size_t size = (size_t)snprintf(p.text, sizeof(p.text), "%s", text);
	struct iovec part = {&p, offsetof(struct sync_packet, text) +
					 (size < sizeof(p.text) ? size + 1 : sizeof(p.text))};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

	if (pass_fd >= 0) {
		struct cmsghdr *c;

		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
	}
	return sendmsg(fd, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int sync_receive(int fd, struct sync_packet *ret, int *ret_fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part = {ret, sizeof(*ret)};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
			   .msg_controllen = sizeof(control.bytes)};
	ssize_t n;

	memset(ret, 0, sizeof(*ret));
	*ret_fd = -1;
	do /* who ends with our go unread resets, once, and before what was said is read */
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return -errno;
	if (n == 0)
		return 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	ret->text[sizeof(ret->text) - 1] = '\0';
	return 1;
}
