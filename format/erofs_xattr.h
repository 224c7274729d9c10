/* erofs_xattr: names of xattrs, the numbers that EROFS writes for their prefixes, and a member's xattrs packed.
 *
 * Ownership  Returns constants, or points into the caller's name.
 * Units      Bytes.
 * Errors     -EFBIG: a limit of limits.h (reported). -ENOMEM.
 * Threads    Any.
 * Source     linux/fs/erofs/xattr.h
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct tar_xattr;

/* "user.", or a whole name ("system.posix_acl_access"). NULL: a number that we never write. */
const char *erofs_xattr_prefix(unsigned int index);

/* Which prefix `name` begins with; *ret_rest is what follows it. 0: EROFS cannot hold that name. */
uint8_t erofs_xattr_index(const char *name, const char **ret_rest);

/* Appends what EROFS has behind its xattr header, sorted by name; of a name that comes twice the last
 * counts. `member`: its path, for errors. Left out: what overlayfs would obey (KERNEL.md F), and names that EROFS cannot hold. */
int erofs_xattr_pack(const char *member, const struct tar_xattr *xattrs, size_t n, struct bytes *out);
