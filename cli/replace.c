/* One packet with our own executable, and the answer. */
#include "cli/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/message.h"
#include "base/report.h"
#include "cache/store.h"
#include "fs/kept.h"

#define ANSWER_MS 20000

/* -ENOENT, bare: nobody listens. */
static int connect_to(const struct store *s, int *ret_fd)
{
	_cleanup_(fd_close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/socket", s->run_fd);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return errno == ECONNREFUSED || errno == ENOENT ?
			       -ENOENT :
			       fail(errno, "%s/socket: %s", s->run_path, strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int send_program(int socket_fd, int program_fd)
{
	struct message_head h = {.magic = MESSAGE_MAGIC, .kind = MESSAGE_REPLACE};
	struct kept_format format;
	struct iovec parts[2] = {{&h, sizeof(h)}, {&format, sizeof(format)}};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct msghdr m = {.msg_iov = parts,
			   .msg_iovlen = 2,
			   .msg_control = control.room,
			   .msg_controllen = sizeof(control.room)};

	kept_format_here(&format);
	memcpy(CMSG_DATA(&control.head), &program_fd, sizeof(int));
	return sendmsg(socket_fd, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int wait_for_answer(const struct store *s, int socket_fd)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	const char *text = "no reason is given";
	struct message_head h;
	uint64_t err = EBADMSG;
	int r = message_receive(socket_fd, ANSWER_MS, &h, &o);

	if (r == -ETIMEDOUT)
		return fail(ETIMEDOUT, "the supervisor did not answer within %d seconds; its log is %s/log",
			    ANSWER_MS / 1000, s->run_path);
	if (r == -EPIPE)
		return fail(EPIPE, "the server cut the connection: it is of a version that cannot hand over, or it ended; "
			    "its log is %s/log, and \"lazyrun stop-server\" ends it", s->run_path);
	if (r < 0)
		return fail(-r, "the supervisor's answer: %s", strerror(-r));
	if (o)
		(void)json_field_u64(o, "errno", &err);
	if (err == 0)
		return 0;
	if (o)
		(void)json_field_string(o, "error", &text);
	return fail((int)err, "%s", text);
}

int replace_server(const char *store_path, const char *run_path)
{
	_cleanup_(store_free) struct store *s = NULL;
	_cleanup_(fd_close) int socket_fd = -1, program_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int r = store_open(store_path, run_path, false, &s);

	if (r == 0)
		r = connect_to(s, &socket_fd);
	if (r == -ENOENT && !report_any()) {
		printf("no server runs for this store; the next command that needs one starts this program's\n");
		return 0;
	}
	if (r < 0)
		return r;
	if (program_fd < 0)
		return fail(errno, "/proc/self/exe: %s", strerror(errno));
	r = send_program(socket_fd, program_fd);
	if (r < 0 && r != -EPIPE)
		return fail(-r, "the supervisor cannot be asked: %s", strerror(-r));
	return wait_for_answer(s, socket_fd);
}
