/* erofs_xattr: names of xattrs and the numbers that EROFS writes for their prefixes.
 *
 * Ownership  Returns constants, or points into the caller's name.
 * Units      -
 * Errors     -
 * Threads    Any.
 * Source     linux/fs/erofs/xattr.h
 */
#pragma once

#include <stdint.h>

/* "user.", or a whole name ("system.posix_acl_access"). NULL: a number that we never write. */
const char *erofs_xattr_prefix(unsigned int index);

/* Which prefix `name` begins with; *ret_rest is what follows it. 0: EROFS cannot hold that name. */
uint8_t erofs_xattr_index(const char *name, const char **ret_rest);
