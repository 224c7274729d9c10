/* Blocking reads of /dev/fuse by a few threads with small stacks. */
#include "fs/channel.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "base/thread.h"

#define WORKERS 4
#define TRIES 100 /* of a read or write that should not fail, 1 ms apart */
#define REQUEST_SIZE (64u << 10)  /* the kernel wants room for max_write and a header */

/* Newer than Debian 12's header: "send again what was read and not answered" (Linux 6.9). */
#define NOTIFY_RESEND 7

struct worker {
	struct fuse_session *se;
	int dev_fd, end_fd;
};

static struct worker self; /* the same for all; never changes after channel_start() */

/* libfuse forgets a request whose reply failed, and its reader would wait for ever. So it is tried again, and if that
 * does not help, the kernel sends the request to our successor. */
static ssize_t write_reply(int fd, struct iovec *parts, int n, void *data)
{
	const struct fuse_out_header *h = parts[0].iov_base;

	(void)data;
	for (int tries = 0; tries < TRIES; tries++) {
		ssize_t r = writev(fd, parts, n);

		if (r < 0 && errno == ENOENT) /* the reader is gone, or this is the reply to a replayed INIT */
			return (ssize_t)h->len;
		if (r >= 0 || errno == ENODEV)
			return r;
		usleep(1000);
	}
	fail(errno, "/dev/fuse takes no reply: %s", strerror(errno));
	_exit(EXIT_FAILURE);
}

static ssize_t read_request(int fd, void *data, size_t size, void *user)
{
	(void)user;
	return read(fd, data, size);
}

/* The request's size. Negative: the mount is gone (-ENODEV), or worse, which ends the mount too: not for a single time. */
static ssize_t receive(int dev_fd, void *data)
{
	for (int failures = 0;;) {
		ssize_t n = read(dev_fd, data, REQUEST_SIZE);

		if (n > 0)
			return n;
		if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
			continue;
		if (n == 0 || errno == ENODEV || errno == ECONNABORTED || ++failures == TRIES)
			return n < 0 ? -errno : -EIO;
		usleep(1000);
	}
}

static void *work(void *argument)
{
	char data[REQUEST_SIZE] __attribute__((aligned(8)));

	(void)argument;
	for (;;) {
		ssize_t n = receive(self.dev_fd, data);
		struct fuse_buf buffer = {.mem = data, .size = n > 0 ? (size_t)n : 0};

		if (n < 0 && n != -ENODEV)
			fail((int)-n, "/dev/fuse: %s", strerror((int)-n));
		if (n < 0)
			break;
		fuse_session_process_buf(self.se, &buffer);
	}
	eventfd_write(self.end_fd, 1);
	return NULL;
}

static bool resend(int dev_fd)
{
	struct fuse_out_header h = {.len = sizeof(h), .error = NOTIFY_RESEND};

	return write(dev_fd, &h, sizeof(h)) == sizeof(h);
}

/* The first request on a new mount. Recorded before it is answered: from then on it can be replayed. */
static int record_init(struct control *control, int dev_fd)
{
	char data[REQUEST_SIZE] __attribute__((aligned(8)));
	const struct fuse_in_header *h = (const struct fuse_in_header *)data;
	ssize_t n;

	resend(dev_fd); /* a predecessor may have died between reading and recording */
	n = receive(dev_fd, data);
	if (n < 0)
		return (int)n;
	if ((size_t)n < sizeof(*h) || (size_t)n > sizeof(control->init) || h->opcode != FUSE_INIT)
		return fail(EPROTO, "/dev/fuse does not begin with INIT");
	memcpy(control->init, data, (size_t)n);
	atomic_store(&control->init_size, (unsigned)n);
	return 0;
}

static void replay_init(struct fuse_session *se, const struct control *control)
{
	char data[CONTROL_INIT_SIZE] __attribute__((aligned(8)));
	struct fuse_buf buffer = {.mem = data, .size = atomic_load(&control->init_size)};

	memcpy(data, control->init, buffer.size);
	fuse_session_process_buf(se, &buffer);
}

static int start_workers(void)
{
	int r = 0, n = 0;

	for (; r == 0 && n < WORKERS; n += r == 0)
		r = thread_start_detached(work, NULL);
	if (r < 0)
		fail(-r, "thread %d of %d cannot be made: %s", n + 1, WORKERS, strerror(-r));
	return n > 0 ? 0 : r; /* fewer are slower, but an end would be the mount's */
}

int channel_start(struct fuse_session *se, struct control *control, int dev_fd, int *ret_end_fd)
{
	static const struct fuse_custom_io io = {.writev = write_reply, .read = read_request};
	_cleanup_(fd_close) int end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	bool successor = atomic_load(&control->init_size) > 0;
	int r;

	if (end_fd < 0)
		return fail(errno, "eventfd: %s", strerror(errno));
	r = fuse_session_custom_io(se, &io, dev_fd);
	if (r < 0)
		return fail(-r, "libfuse refuses our channel: %s", strerror(-r));
	if (!successor) {
		r = record_init(control, dev_fd);
		if (r < 0)
			return r;
	}
	replay_init(se, control);
	/* Who waits for an answer that nobody can give would wait for ever: better the end, of which they hear. */
	if (successor && !resend(dev_fd))
		return fail(ENODEV, "the server died, and this kernel does not send again what it had read (%s; Linux 6.9 "
				    "does): the mount ends, and with it what runs on it; the next start makes a new one",
			    strerror(errno));
	self = (struct worker){se, dev_fd, end_fd};
	r = start_workers();
	if (r < 0)
		return r;
	*ret_end_fd = TAKE_FD(end_fd);
	return 0;
}
