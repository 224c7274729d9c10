/* relay_answer: what the supervisor itself says to commands, and the one packet that brings it a descriptor.
 *
 * Ownership  Sockets are borrowed. relay_answer_receive() hands over the descriptor.
 * Units      Bytes.
 * Errors     Negative errno, bare; of recvmsg as it is, with errno. An answer that finds no room in the socket
 *            of who waits for it is lost: it is the only packet in there.
 * Threads    Any; never waits.
 * Source     base/message.h; unix(7), SCM_RIGHTS.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/control.h"

#define RELAY_ANSWER_TEXT 320

/* One packet, as recvmsg(2) with MSG_TRUNC; a descriptor that came with it in *ret_fd. */
ssize_t relay_answer_receive(int socket_fd, void *data, size_t size, int *ret_fd);

/* LAST with an error for the user (`text` is put into JSON as it is), or 0. */
void relay_answer_last(int socket_fd, uint32_t connection, int err, const char *text);

/* JOIN: who the processes are, for messages, and the way into the namespaces (-1: none). */
int relay_answer_join(int socket_fd, const struct control *c, int user_ns_fd, int mount_ns_fd);
