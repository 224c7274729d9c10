/* tar: members of a tar stream, told as the stream passes by.
 *
 * The caller feeds the plain stream in pieces of any size; bodies are skipped, not copied: the
 * stream itself is the layer file, and a member says where in it its body lies.
 *
 * Ownership  tar_new() hands over; tar_free() ends it. A member points into the parser and is valid
 *            until the next tar_next().
 * Units      Offsets count bytes from the start of the plain stream.
 * Errors     -EBADMSG: not a tar, a wrong checksum, numbers out of range, a cut stream.
 *            -EFBIG: a limit of limits.h. Reported, with the member's name; the caller's capture adds the layer.
 * Threads    One stream is fed by one thread.
 * Source     POSIX.1-2017 pax; GNU tar manual "Basic Tar Format", "Sparse formats"; star's SCHILY keys.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum tar_type {
	TAR_FILE,
	TAR_HARD_LINK,
	TAR_SYMLINK,
	TAR_CHARACTER_DEVICE,
	TAR_BLOCK_DEVICE,
	TAR_DIRECTORY,
	TAR_FIFO,
};

struct tar_xattr {
	const char *name; /* "security.capability"; NUL-terminated, the SCHILY.xattr. prefix cut off */
	const void *value;
	size_t value_size;
};

struct tar_fragment { /* of a sparse member: bytes [off, off+size) of the file lie at body_off of the stream */
	uint64_t off;
	uint64_t size;
	uint64_t body_off;
};

struct tar_member {
	enum tar_type type;
	const char *path; /* as written, NUL-terminated, without NUL inside */
	const char *link; /* target of links, "" otherwise */
	const char *uname, *gname; /* the owners' names, "" when there are none; nothing here depends on them */
	mode_t mode;	  /* the low 12 bits */
	uint32_t uid, gid;
	int64_t mtime;
	uint32_t mtime_nsec;
	uint32_t major, minor;
	uint64_t size;	   /* of the file as read: for a sparse member the expanded size */
	uint64_t header_off; /* where its own headers start */
	uint64_t body_off; /* where the body starts (sparse: meaningless) */
	bool sparse;
	const struct tar_fragment *fragments; /* sparse only: ascending, not overlapping, inside the file */
	size_t n_fragments;
	const struct tar_xattr *xattrs;
	size_t n_xattrs;
};

/* As eStargz, zstd:chunked and SOCI call it: "reg", "dir". */
const char *tar_type_name(enum tar_type type);

struct tar;

int tar_new(struct tar **ret);
void tar_free(struct tar **t);

/* Takes bytes from `data`; *ret_used says how many. Returns 1 with a member, 0 when all of `data` was
 * used and more is needed. After the end mark everything is used and ignored. Call it again with
 * what is left after a member. */
int tar_next(struct tar *t, const void *data, size_t size, size_t *ret_used, struct tar_member *ret);

/* After the last byte of the stream: -EBADMSG when it stopped inside a header or body. A stream
 * without the two zero blocks, at a member's edge, is accepted, as is an empty one. */
int tar_finish(struct tar *t);

/* How many bytes of what was taken are the tar, its end mark included; padding may follow. */
uint64_t tar_end_off(const struct tar *t);
