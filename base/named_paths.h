/* named_paths: what commands have named for the fetcher to read: layouts ("oci:DIR"), CA files, directories of
 * certificates. A file of the run directory.
 *
 * Ownership  named_paths_read() hands over.
 * Units      -
 * Errors     Reported.
 * Threads    Any; writers exclude each other.
 * Source     docs/security.md.
 */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"

#define NAMED_PATHS "readable" /* its name; paths, each ended by NUL */

/* What a command does before it names one to the fetcher, which cannot write there. */
int named_paths_add(int run_fd, const char *path);

/* Nothing named yet is an empty list. */
int named_paths_read(int run_fd, struct bytes *ret);

/* Whether one of them, or something in it, is there and cannot be read with the rights that the process has now. */
bool named_paths_need_more(const struct bytes *paths);
