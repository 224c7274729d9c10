/* pax: the records of a pax extended header, checked, of one member (x) or of all that follow (g).
 *
 * Ownership  pax_free() ends it; an all-zero struct is a valid empty one. Texts stay valid until the
 *            next pax_add() or pax_clear().
 * Units      Bytes; seconds since 1970.
 * Errors     -EBADMSG: records that lie about their length, values that are none. -EFBIG: a limit.
 *            -EOPNOTSUPP: a sparse map in a global header. All reported.
 * Threads    A plain value.
 * Source     POSIX.1-2017 pax "pax Extended Header"; star's SCHILY.xattr.*; GNU tar's GNU.sparse.*.
 *            Unknown keys are passed over, as are LIBARCHIVE.xattr.* (bsdtar writes both) and ACLs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "format/sparse_map.h"
#include "format/tar.h"

enum pax_key {
	PAX_PATH = 1 << 0,
	PAX_LINK = 1 << 1,
	PAX_SIZE = 1 << 2,
	PAX_UID = 1 << 3,
	PAX_GID = 1 << 4,
	PAX_MTIME = 1 << 5,
	PAX_SPARSE_MAJOR = 1 << 6,
	PAX_SPARSE_MINOR = 1 << 7,
	PAX_SPARSE_NAME = 1 << 8,
	PAX_SPARSE_SIZE = 1 << 9,   /* of the expanded file */
	PAX_SPARSE_BLOCKS = 1 << 10, /* entries of the map */
	PAX_SPARSE_MAP = 1 << 11,   /* `map` holds the 0.1 form */
	PAX_SPARSE_PAIRS = 1 << 12, /* `map` holds the 0.0 form */
	PAX_UNAME = 1 << 13,
	PAX_GNAME = 1 << 14,
};

struct pax {
	uint32_t set;	  /* keys that have a value */
	uint32_t cleared; /* keys with an empty value: the plain header's counts, not a global one */
	uint64_t path_off, link_off, uname_off, gname_off, sparse_name_off; /* see pax_text() */
	uint64_t size, uid, gid;
	uint64_t sparse_major, sparse_minor, sparse_size, sparse_blocks;
	int64_t mtime;
	uint32_t mtime_nsec;
	struct sparse_map map;
	struct bytes text;   /* kept texts, each with a NUL behind it */
	struct bytes xattrs; /* of struct pax_xattr, as they came */
};

struct pax_xattr {
	uint32_t name_off, value_off, value_size;
};

void pax_free(struct pax *p);

/* Back to empty; memory is kept. */
void pax_clear(struct pax *p);

/* Takes the body of an x or g header. Records that were there before stay, unless named again.
 * `name` is for messages. */
int pax_add(struct pax *p, const void *records, size_t size, bool global, const char *name);

/* Which of the two says `key`: the member's own, the global one, or NULL: the plain header does. */
const struct pax *pax_choose(const struct pax *local, const struct pax *global, enum pax_key key);

const char *pax_text(const struct pax *p, uint64_t off);

/* The xattrs of both into `room` as an array of struct tar_xattr, sorted by name; of a name that comes
 * more than once the last counts. -EFBIG, bare: over LIMIT_XATTRS_SIZE. */
int pax_xattrs(const struct pax *local, const struct pax *global, struct bytes *room, size_t *ret_n);
