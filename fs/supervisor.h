/* supervisor: starts server and fetcher again when they die, and owns what must outlive them.
 *
 * Its own end is the end of the mount, so it does next to nothing and parses nothing.
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
	int ready_fd;	  /* -1: stay with the terminal; else standard output and error move to <run>/log, and
			     then SUPERVISOR_READY is written here */
	int store_lock_fd, run_lock_fd; /* not for the children */
	bool rootless;	  /* commands join our namespaces */
};

#define SUPERVISOR_READY 'R'

int supervisor_run(const struct supervisor_setup *setup);
