/* sync: what init tells the parent while a container is being made.
 *
 * A SOCK_SEQPACKET pair. The parent sends one packet, "go", and reads packets until the end of file, which is the successful
 * exec: init's side closes by itself then.
 *
 * Ownership  sync_open() hands over both descriptors; a received terminal belongs to the receiver.
 * Units      -
 * Errors     -EPIPE: the other side is gone. Bare.
 * Threads    -
 * Source     unix(7). launcher.c writes SYNC_EXEC packets by hand: keep struct sync_packet as it is.
 */
#pragma once

#include <stdint.h>

#include "base/report.h"

enum sync_kind {
	SYNC_FAILED = 1,   /* init could not make the container: text */
	SYNC_EXEC = 2,	   /* the command could not be executed: error */
	SYNC_TERMINAL = 3, /* carries the terminal's master side */
};

struct sync_packet {
	uint32_t kind;
	int32_t error; /* positive errno */
	char text[REPORT_TEXT_SIZE];
};

/* fds[0] for the parent, fds[1] for init. */
int sync_open(int fds[2]);

/* The parent lets init execute the command; init waits for it, and ends when the parent is gone. */
void sync_go(int fd);
void sync_wait(int fd);
int sync_send(int fd, enum sync_kind kind, int error, const char *text, int pass_fd);

/* 1: *ret is filled, *ret_fd is a descriptor or -1. 0: the other side has closed. */
int sync_receive(int fd, struct sync_packet *ret, int *ret_fd);
