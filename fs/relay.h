/* relay: packets between commands and the fetcher, by their heads; nothing of them is parsed.
 *
 * A fetcher that dies loses nothing: each connection's open request is kept and sent again, and
 * before that, as REPLAY, the newest packet under each `remember` key.
 *
 * Ownership  relay_new() makes <run>/socket; relay_free() closes everything. Packets are
 *            copies, and bounded: per connection one request and one answer, and remembered ones.
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

struct relay;

/* The namespace descriptors, which MESSAGE_JOIN hands to commands, are borrowed; -1 for root. */
int relay_new(const struct store *store, int user_ns_fd, int mount_ns_fd, const struct control *control,
	      struct relay **ret);
void relay_free(struct relay **r);

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
