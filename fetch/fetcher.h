/* fetcher: the process that touches the network and parses what comes from it.
 *
 * Ownership  Borrows everything in the setup for the life of the process.
 * Units      -
 * Errors     fetcher_run() returns only when told to end (0) or when it cannot work (reported).
 * Threads    Makes its own: one for libcurl, one a request, decoders, fillers. Call it from a
 *            single-threaded process.
 * Source     docs/design.md, "The processes".
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "cache/number_table.h"
#include "cache/store.h"

struct fetcher_setup {
	struct store *store;
	struct number_table *numbers;
	int command_fd; /* SOCK_SEQPACKET to the supervisor: packets of base/message.h, relayed */
	int need_fd;	/* SOCK_SEQPACKET to the server: packets of fetch/need.h */
	uint64_t budget; /* of the disk, in bytes; 0: the default, UINT64_MAX: none */
	int idle_seconds;  /* after so long without use MESSAGE_IDLE is sent; 0: never */
	const int *supervisor_pid, *server_pid; /* in shared memory, for status */
	const atomic_uint *n_invalidated;	/* the same: images that it has let go of */
	const atomic_uint *n_dropped;		/* the same: NEED_DROP_PAGES and NEED_RECORD it is done with */
	const atomic_uint *parked_reads;	/* the same: reads that wait in the server */
};

/* EOF on command_fd ends it. */
int fetcher_run(const struct fetcher_setup *setup);
