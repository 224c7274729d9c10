/* The supervisor between commands and fetchers of which any may be an attacker: steps of three bytes (what, who, how
 * much of the rest is a packet), after each of which it must go on serving. */
#include <assert.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/message.h"
#include "base/report.h"
#include "fs/kept.h"
#include "fs/relay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COMMANDS 4
#define STEPS_MAX 100

static char run_path[] = "/dev/shm/fuzz-relay-XXXXXX";
static int run_fd = -1;

static void remove_run(void)
{
	unlinkat(run_fd, "socket", 0);
	rmdir(run_path);
}

static int connect_command(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", run_path);
	assert(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

static void serve(struct relay *r)
{
	struct pollfd fds[RELAY_POLL_MAX];
	size_t n = relay_poll(r, fds);

	assert(poll(fds, n, 0) >= 0);
	relay_dispatch(r, fds, n);
	if (relay_wants_program(r) >= 0)
		relay_replaced(r, -ENOEXEC);
}

/* With a descriptor, as who wants to replace the server does. */
static void send_with_fd(int fd, const void *data, size_t size)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec part = {(void *)(uintptr_t)data, size};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room,
			   .msg_controllen = sizeof(control.room)};

	memcpy(CMSG_DATA(&control.head), &run_fd, sizeof(run_fd));
	sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* A packet whose head is right as far as the second byte of a step says so. */
static void send_one(int fd, uint8_t who, const uint8_t *data, size_t size)
{
	_Alignas(8) uint8_t packet[sizeof(struct message_head) + 255] = {0};
	struct message_head *h = (struct message_head *)packet;

	if (fd < 0)
		return;
	if (who & 0x80) {
		send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		return;
	}
	h->magic = MESSAGE_MAGIC;
	h->kind = who >> 2 & 15;
	h->connection = size ? data[0] : 0;
	h->remember[0] = size > 1 ? data[1] & 3 : 0;
	memcpy(packet + sizeof(*h), data, size);
	if (who & 0x40 && size == 0) {
		kept_format_here((struct kept_format *)(packet + sizeof(*h)));
		size = sizeof(struct kept_format);
	}
	if (who & 0x40)
		send_with_fd(fd, packet, sizeof(*h) + size);
	else
		send(fd, packet, sizeof(*h) + size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void drain(int fd)
{
	static uint8_t packet[LIMIT_MESSAGE_SIZE];

	while (fd >= 0 && recv(fd, packet, sizeof(packet), MSG_DONTWAIT) > 0)
		;
}

static void step(struct relay *r, int commands[], int *fetcher, uint8_t what, uint8_t who, const uint8_t *data, size_t size)
{
	int *command = &commands[who % COMMANDS], ends[2];

	switch (what % 8) {
	case 0:
	case 1:
		if (*command < 0)
			*command = connect_command();
		send_one(*command, who, data, size);
		break;
	case 2:
		if (*command >= 0)
			close(*command);
		*command = -1;
		break;
	case 3:
	case 4:
		send_one(*fetcher, who, data, size);
		break;
	case 5: /* another fetcher */
		relay_end_fetcher(r);
		if (who & 1)
			relay_fetcher_crashed(r);
		if (who & 2)
			relay_forget(r);
		if (*fetcher >= 0)
			close(*fetcher);
		assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
		*fetcher = ends[0];
		relay_set_fetcher(r, ends[1]);
		break;
	case 6:
		drain(*command);
		break;
	case 7:
		drain(*fetcher);
		break;
	}
	serve(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct control control;
	struct store store = {.run_path = run_path};
	int commands[COMMANDS] = {-1, -1, -1, -1}, fetcher = -1, memory_fd;
	char text[REPORT_TEXT_SIZE];
	struct relay *r = NULL;

	if (run_fd < 0) {
		assert(mkdtemp(run_path));
		run_fd = open(run_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		atexit(remove_run);
	}
	store.run_fd = run_fd;
	report_capture(text);
	assert(relay_new(&store, -1, -1, &control, &memory_fd, &r) == 0);
	for (int i = 0; i < STEPS_MAX && size >= 3; i++) {
		size_t n = data[2] < size - 3 ? data[2] : size - 3;

		step(r, commands, &fetcher, data[0], data[1], data + 3, n);
		data += 3 + n;
		size -= 3 + n;
	}
	for (int i = 0; i < COMMANDS; i++)
		if (commands[i] >= 0)
			close(commands[i]);
	serve(r);
	relay_free(&r);
	report_capture(NULL);
	close(memory_fd);
	if (fetcher >= 0)
		close(fetcher);
	return 0;
}
