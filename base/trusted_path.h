/* trusted_path: a directory that no other user could have put there, moved away or exchanged.
 *
 * Each directory on the way is root's or ours, and written by nobody else; a sticky one (/tmp) will do when the entry
 * taken from it is root's or ours. Symbolic links on the way are followed when such a directory holds them.
 *
 * Ownership  Returns a descriptor (O_CLOEXEC) that the caller closes.
 * Units      -
 * Errors     -ENOENT, bare: it is not there. Reported otherwise, with the directory and what to do; -EACCES: another
 *            user can write there.
 * Threads    Any.
 * Source     docs/security.md.
 */
#pragma once

#include <stdbool.h>

/* `what` it is to be ("store") and the `flag` that chooses another (--store DIR) stand in messages. With `make`, what
 * is missing of it is made: mode 0755 on the way, 0700 at its end. The last name is never a link. */
int trusted_path_open(const char *path, const char *what, const char *flag, bool make);
