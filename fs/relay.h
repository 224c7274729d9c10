/* relay: packets between commands and the fetcher, by their heads; nothing of them is parsed.
 *
 * A fetcher that dies loses nothing: each connection's open request is kept and sent again, and
 * before that, as REPLAY, the newest packet under each `remember` key.
 *
 * Ownership  relay_new() makes <run>/socket; relay_free() closes everything. Packets are
 *            copies, and bounded: per connection one request and one answer, and remembered ones. All of it
 *            lies in shared memory made at the start: nothing is allocated later, and serve --replace
 *            hands it over by its descriptor.
 * Units      -
 * Errors     A command that breaks the protocol is cut off, with a line in the log.
 * Threads    One; never blocks.
 * Source     base/message.h.
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "cache/store.h"
#include "fs/control.h"

#define RELAY_CONNECTIONS 512
#define RELAY_POLL_MAX (RELAY_CONNECTIONS + 2)
#define RELAY_FDS_MAX (RELAY_CONNECTIONS + 3)

struct relay;

/* The namespace descriptors, which MESSAGE_JOIN hands to commands, are borrowed; -1 for root. */
int relay_new(const struct store *store, int user_ns_fd, int mount_ns_fd, const struct control *control, int *ret_fd,
	      struct relay **ret);
void relay_free(struct relay **r);

/* In the program that took over: the same relay. It is laid out alike where the size is the same. */
int relay_again(int memory_fd, const struct control *control, struct relay **ret);
size_t relay_size(void);
/* All that it holds open right now. A child closes what was open before the fork: the supervisor goes on
 * changing the memory that both see. */
size_t relay_descriptors(const struct relay *r, int fds[static RELAY_FDS_MAX]);
/* In a child: the memory alone. */
void relay_unmap(struct relay **r);
/* The program that a command (MESSAGE_REPLACE) wants executed in this process's place; -1: none. */
int relay_wants_program(const struct relay *r);
/* Answers that command: 0, from the new program; -errno: it could not be executed. */
void relay_replaced(struct relay *r, int err);

/* A new fetcher's socket (taken over): what is remembered and what is open goes to it. */
void relay_set_fetcher(struct relay *r, int command_fd);
/* The fetcher is dead, or shall end: delivers what it still said, then closes its socket. */
void relay_end_fetcher(struct relay *r);

/* It ended by a fault of its own, not by a kill: a request that was there too often is answered with EIO. */
void relay_fetcher_crashed(struct relay *r);
/* Forgets what is remembered: new fetchers die of it. */
void relay_forget(struct relay *r);

/* Fills in what to wait for, and handles what came. Returns the number of `fds`. */
size_t relay_poll(const struct relay *r, struct pollfd fds[static RELAY_POLL_MAX]);
void relay_dispatch(struct relay *r, const struct pollfd *fds, size_t n);

/* Whether MESSAGE_IDLE came while nobody else was connected, or with force. */
bool relay_wants_to_leave(const struct relay *r);
