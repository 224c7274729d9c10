/* terminal: a pseudo-terminal of the container's own, and its copying to and from ours.
 *
 * Ownership  terminal_open() hands over both sides. terminal_end() puts our own terminal back as it was.
 * Units      -
 * Errors     Reported.
 * Threads    One. No descriptor that others may share is made non-blocking.
 * Source     pts(4), ioctl_tty(2): TIOCGPTPEER (Linux 4.13).
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <termios.h>

/* In init: a new pair of the devpts below root_fd, the slave made the controlling terminal, standard
 * input and outputs. */
int terminal_open(int root_fd, unsigned int uid, const struct winsize *size, int *ret_master_fd, int *ret_slave_fd);
int terminal_adopt(int slave_fd);

struct terminal_flow {
	int from_fd, to_fd;
	char data[4096];
	size_t start, end;
	bool ended; /* from_fd has no more */
};

/* In the parent. */
struct terminal {
	int master_fd;
	struct terminal_flow in, out;
	bool raw;
	struct termios before;
};

/* The size of our own terminal, or 24 x 80. */
struct winsize terminal_size(void);

/* Takes master_fd. */
void terminal_begin(struct terminal *t, int master_fd, bool interactive);
void terminal_end(struct terminal *t);

/* Our window has another size now. */
void terminal_resize(struct terminal *t);

#define TERMINAL_POLLS 4
void terminal_poll(const struct terminal *t, struct pollfd polls[static TERMINAL_POLLS]);
void terminal_copy(struct terminal *t, const struct pollfd polls[static TERMINAL_POLLS]);

/* Everything the container wrote has been passed on. */
bool terminal_drained(const struct terminal *t);
