/* store: the directories of one user's store and run directory, opened and checked.
 *
 * Ownership  store_open() hands over; store_free() ends it.
 * Units      -
 * Errors     Reported: a store of another version or another user, a path that others may write.
 * Threads    Never changes after open.
 * Source     docs/design.md, "The cache".
 */
#pragma once

#include <stdbool.h>

struct store {
	char *store_path; /* absolute */
	char *run_path;
	int store_fd, run_fd;
	int blobs_fd, layers_fd, tmp_fd, names_fd, containers_fd; /* blobs_fd is blobs/sha256 */
};

/* Default paths when NULL: LAZYRUN_STORE / LAZYRUN_RUN_DIR, then as the design says. `make`: creates what is missing. */
int store_open(const char *store_path, const char *run_path, bool make, struct store **ret);
void store_free(struct store **s);
