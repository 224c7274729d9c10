/* supervisor: starts server and fetcher again when they die, and owns what must outlive them.
 *
 * Its own end is the end of the mount, so it does next to nothing, parses nothing, and allocates
 * nothing after its start.
 *
 * Ownership  Borrows the setup. The locks on store and run directory are the caller's, held until the
 *            process ends.
 * Units      Seconds.
 * Errors     Reported. supervisor_run() returns 0 after an orderly end.
 * Threads    One; it forks, so the process must have no other.
 * Source     docs/design.md, "The processes".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cache/store.h"

struct supervisor_setup {
	struct store *store;
	uint64_t budget;  /* fetch/fetcher.h */
	int idle_seconds; /* 0: never leaves by itself */
	int ready_fd;	  /* for ready_say() */
	int resume_fd;	  /* for kept_take(): this program goes on where another one was; -1: a new start */
	int store_lock_fd, run_lock_fd; /* of a new start; not for the children */
	bool rootless;	  /* commands join our namespaces */
};

int supervisor_run(const struct supervisor_setup *setup);
