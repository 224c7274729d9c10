/* Pieces of at most 4096 bytes after a POLLOUT, so that a blocking descriptor does not block (pipe(7), PIPE_BUF). */
#include "runtime/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/report.h"

int terminal_open(int root_fd, unsigned int uid, const struct winsize *size, int *ret_master_fd, int *ret_slave_fd)
{
	_cleanup_(fd_close) int master_fd = beneath_cache_open(root_fd, "dev/pts/ptmx", O_RDWR | O_NOCTTY, 0);
	_cleanup_(fd_close) int slave_fd = -1;
	const int unlock = 0;

	if (master_fd < 0)
		return fail(-master_fd, "opening the container's /dev/pts/ptmx: %s", strerror(-master_fd));
	if (ioctl(master_fd, TIOCSPTLCK, &unlock) < 0 || ioctl(master_fd, TIOCSWINSZ, size) < 0)
		return fail(errno, "setting up a terminal: %s", strerror(errno));
	slave_fd = ioctl(master_fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave_fd < 0)
		return fail(errno, "opening a terminal's slave side: %s", strerror(errno));
	if (uid != 0 && fchown(slave_fd, uid, (gid_t)-1) < 0)
		return fail(errno, "giving the terminal to user %u: %s", uid, strerror(errno));
	*ret_master_fd = TAKE_FD(master_fd);
	*ret_slave_fd = TAKE_FD(slave_fd);
	return 0;
}

int terminal_adopt(int slave_fd)
{
	if (ioctl(slave_fd, TIOCSCTTY, 0) < 0)
		return fail(errno, "taking the terminal: %s", strerror(errno));
	for (int fd = 0; fd <= 2; fd++)
		if (dup2(slave_fd, fd) < 0)
			return fail(errno, "dup2: %s", strerror(errno));
	return 0;
}

struct winsize terminal_size(void)
{
	struct winsize size = {.ws_row = 24, .ws_col = 80};

	for (int fd = 0; fd <= 2; fd++)
		if (ioctl(fd, TIOCGWINSZ, &size) == 0)
			break;
	return size;
}

void terminal_begin(struct terminal *t, int master_fd, bool interactive)
{
	struct termios raw;

	memset(t, 0, sizeof(*t));
	t->master_fd = master_fd;
	t->in.from_fd = interactive ? STDIN_FILENO : -1;
	t->in.ended = !interactive;
	t->in.to_fd = t->out.from_fd = master_fd;
	t->out.to_fd = STDOUT_FILENO;
	fcntl(master_fd, F_SETFL, O_NONBLOCK);
	if (!interactive || tcgetattr(STDIN_FILENO, &t->before) < 0)
		return;
	raw = t->before;
	cfmakeraw(&raw);
	t->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

void terminal_end(struct terminal *t)
{
	if (t->raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &t->before);
	t->raw = false;
	fd_close(&t->master_fd);
}

void terminal_resize(struct terminal *t)
{
	struct winsize size;

	if (t->master_fd >= 0 && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
		ioctl(t->master_fd, TIOCSWINSZ, &size);
}

static bool empty(const struct terminal_flow *f)
{
	return f->start == f->end;
}

static void poll_flow(const struct terminal_flow *f, struct pollfd *from, struct pollfd *to)
{
	*from = (struct pollfd){.fd = empty(f) && !f->ended ? f->from_fd : -1, .events = POLLIN};
	*to = (struct pollfd){.fd = empty(f) ? -1 : f->to_fd, .events = POLLOUT};
}

void terminal_poll(const struct terminal *t, struct pollfd polls[static TERMINAL_POLLS])
{
	poll_flow(&t->in, &polls[0], &polls[1]);
	poll_flow(&t->out, &polls[2], &polls[3]);
}

/* True when this was the end of what comes. The master says EIO when the last slave is closed. */
static bool fill(struct terminal_flow *f)
{
	ssize_t n = read(f->from_fd, f->data, sizeof(f->data));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	f->start = 0;
	f->end = n > 0 ? (size_t)n : 0;
	f->ended = n <= 0;
	return f->ended;
}

static void drain(struct terminal_flow *f)
{
	ssize_t n = write(f->to_fd, f->data + f->start, f->end - f->start);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* Nobody takes it any more: it is dropped, so that the container is not held up. */
	f->start = n < 0 ? f->end : f->start + (size_t)n;
}

void terminal_copy(struct terminal *t, const struct pollfd polls[static TERMINAL_POLLS])
{
	if (polls[0].revents && fill(&t->in) && !t->raw) {
		t->in.data[0] = 4; /* ^D: our input was no terminal and is at its end */
		t->in.end = 1;
	}
	if (polls[1].revents)
		drain(&t->in);
	if (polls[2].revents)
		fill(&t->out);
	if (polls[3].revents)
		drain(&t->out);
}

bool terminal_drained(const struct terminal *t)
{
	return t->out.ended && empty(&t->out);
}
