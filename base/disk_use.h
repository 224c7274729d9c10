/* disk_use: how many bytes of the disk a file or a tree of them takes.
 *
 * Ownership  -
 * Units      Bytes, in whole blocks: holes do not count.
 * Errors     -; what cannot be looked at counts 0.
 * Threads    Any.
 * Source     fts(3), stat(2).
 */
#pragma once

#include <stdint.h>

/* Links are not followed, other file systems not entered. */
uint64_t disk_use_tree(const char *path);
