/* server: the process that answers the kernel, from mapped layer indexes and layer files.
 *
 * It has no network and parses nothing but layer indexes. It may be killed at any instruction: the
 * next one takes over the open connection (channel.h).
 *
 * Ownership  Borrows everything in the setup for the life of the process.
 * Units      -
 * Errors     server_run() returns 0 when the mount is gone, or what made it impossible (reported).
 * Threads    Makes its own: channel workers and the need thread. Call it single-threaded.
 * Source     docs/design.md, "The processes".
 */
#pragma once

#include "cache/number_table.h"
#include "cache/store.h"
#include "fs/control.h"

struct server_setup {
	const struct store *store;
	const struct number_table *numbers;
	struct control *control;
	int dev_fd;  /* /dev/fuse, mounted */
	int need_fd; /* SOCK_SEQPACKET to the fetcher: packets of fetch/need.h */
};

int server_run(const struct server_setup *setup);
