/* tar_header: one 512-byte header block of a tar, checked: v7, ustar, star and GNU.
 *
 * Ownership  A plain value; texts are copied out of the block.
 * Units      Bytes; seconds since 1970.
 * Errors     -EBADMSG: wrong checksum (bare), a field that is no number (reported).
 * Threads    A plain value.
 * Source     POSIX.1-2017 pax "ustar Interchange Format"; GNU tar manual "Basic Tar Format". Where
 *            they are silent, as Go's archive/tar, which docker uses.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TAR_HEADER_SIZE 512u

enum tar_header_format {
	TAR_HEADER_V7,
	TAR_HEADER_USTAR,
	TAR_HEADER_STAR,
	TAR_HEADER_GNU,
};

struct tar_header {
	enum tar_header_format format;
	char type;	      /* the type flag, as written */
	char path[155 + 1 + 100 + 1]; /* prefix and name */
	char link[100 + 1];
	char uname[32 + 1], gname[32 + 1]; /* "" in v7 */
	uint64_t size;
	int64_t mode, uid, gid, mtime;
	int64_t major, minor; /* 0 unless the type is a device */
};

/* Whether `block` is a header: 1, all zeros: 0, neither: -EBADMSG. */
int tar_header_check(const uint8_t *block);

/* Reads a block that tar_header_check() found good. */
int tar_header_read(const uint8_t *block, struct tar_header *ret);

/* A number in octal, between spaces and NULs, or in base 256, which may be negative. -EBADMSG, bare. */
int tar_header_number(const uint8_t *field, size_t size, int64_t *ret);
