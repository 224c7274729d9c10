/* download: a blob on its way into a file, in a thread of its own that also retries.
 *
 * Ownership  download_start() borrows registry and fd; download_free() of source.h ends it first.
 * Units      Bytes.
 * Errors     As in source.h; what the thread reports is said again by the one who waits.
 * Threads    One more for each download; any thread waits.
 * Source     -
 */
#pragma once

#include "fetch/registry.h"
#include "fetch/source.h"

int download_start(struct registry *g, const struct descriptor *d, int fd, uint64_t from,
		   struct download **ret);

/* A file that is there as a whole; the download owns `fd`. */
int download_complete(int fd, uint64_t size, struct download **ret);
