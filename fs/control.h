/* control: the page that supervisor, server and fetcher share beside the number table.
 *
 * Ownership  The supervisor maps it before the fork; it lives as long as any of them.
 * Units      -
 * Errors     -
 * Threads    Pids: written by the supervisor. The rest: written by the server. All by atomic stores.
 * Source     docs/design.md, "Takeover".
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define CONTROL_INIT_SIZE 512 /* a FUSE INIT request is 104 bytes today */

struct control {
	int supervisor_pid, server_pid, fetcher_pid;
	atomic_uint parked_reads;
	atomic_uint n_invalidated; /* NEED_INVALIDATE_IMAGE packets that the server is done with */
	atomic_uint n_dropped;	   /* the same of NEED_DROP_PAGES and NEED_RECORD */
	/* The kernel's INIT request, which it sends once: each new server replays it. Complete when
	 * init_size is not 0. */
	atomic_uint init_size;
	uint8_t init[CONTROL_INIT_SIZE];
};
