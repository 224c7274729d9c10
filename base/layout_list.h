/* layout_list: the layouts ("oci:DIR") that commands have named, which the fetcher may read: a file of the run directory.
 *
 * Ownership  layout_list_read() hands over.
 * Units      -
 * Errors     Reported.
 * Threads    Any; writers exclude each other.
 * Source     docs/security.md.
 */
#pragma once

#include "base/bytes.h"

#define LAYOUT_LIST "layouts" /* its name; paths, each ended by NUL */

/* What a command does before it names a layout to the fetcher, which cannot write there. */
int layout_list_add(int run_fd, const char *path);

/* Nothing named yet is an empty list. */
int layout_list_read(int run_fd, struct bytes *ret);
