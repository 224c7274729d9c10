/* Packets with and without descriptors. */
#include "fs/relay_answer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/message.h"

ssize_t relay_answer_receive(int socket_fd, void *data, size_t size, int *ret_fd)
{
	struct iovec part = {data, size};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr m = {.msg_iov = &part,
			   .msg_iovlen = 1,
			   .msg_control = control.room,
			   .msg_controllen = sizeof(control.room)};
	ssize_t n = recvmsg(socket_fd, &m, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);

	if (n >= 0 && m.msg_controllen >= CMSG_LEN(sizeof(int)) && control.head.cmsg_type == SCM_RIGHTS &&
	    control.head.cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(&control.head), sizeof(int));
	return n;
}

void relay_answer_last(int socket_fd, uint32_t connection, int err, const char *text)
{
	struct {
		struct message_head head;
		char text[RELAY_ANSWER_TEXT + 40];
	} answer = {{.magic = MESSAGE_MAGIC, .kind = MESSAGE_LAST, .connection = connection}, ""};

	if (err)
		snprintf(answer.text, sizeof(answer.text), "{\"errno\":%d,\"error\":\"%s\"}", err, text);
	else
		strcpy(answer.text, "{\"errno\":0}");
	send(socket_fd, &answer, sizeof(answer.head) + strlen(answer.text), MSG_DONTWAIT | MSG_NOSIGNAL);
}

int relay_answer_join(int socket_fd, const struct control *c, int user_ns_fd, int mount_ns_fd)
{
	struct message_head h = {.magic = MESSAGE_MAGIC, .kind = MESSAGE_JOIN};
	char text[160];
	struct iovec parts[2] = {{&h, sizeof(h)}, {text, 0}};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};
	int fds[2] = {user_ns_fd, mount_ns_fd};

	parts[1].iov_len = (size_t)snprintf(
		text, sizeof(text), "{\"supervisor_pid\":%d,\"server_pid\":%d,\"fetcher_pid\":%d}",
		c->supervisor_pid, c->server_pid, c->fetcher_pid);
	if (user_ns_fd >= 0) {
		m.msg_control = control.room;
		m.msg_controllen = sizeof(control.room);
		control.head = (struct cmsghdr){CMSG_LEN(sizeof(fds)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), fds, sizeof(fds));
	}
	return sendmsg(socket_fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}
