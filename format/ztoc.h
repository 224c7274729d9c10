/* ztoc: SOCI's table of a tar.gz or tar layer: its files, and the checkpoints to inflate from.
 *
 * Ownership  ztoc_parse() hands over a struct ztoc that points into bytes of the caller's, which must
 *            outlive it; so do all names and windows. ztoc_free() ends it.
 * Units      Bytes. "packed" counts in the registry's blob, everything else in the uncompressed tar.
 * Errors     -EBADMSG: breaks the format. -EFBIG: a limit. -EOPNOTSUPP: a compression that is neither gzip
 *            nor none. -ENOMEM. All bare.
 * Threads    Never changes after ztoc_parse().
 * Source     soci-snapshotter ztoc/fbs/ztoc.fbs, ztoc/compression/fbs/zinfo.fbs, gzip_zinfo.c (layouts only).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "format/flatbuffer.h"

#define ZTOC_WINDOW_SIZE 32768u

struct ztoc_file {
	char type; /* as a tar has it: '0' file, '1' hard link, '2' symlink, '3' char, '4' block, '5' dir, '6' fifo */
	const char *name, *linkname; /* not NUL-terminated; no NUL inside */
	size_t name_size, linkname_size;
	uint64_t off, size; /* of the body in the tar */
	uint32_t mode;	    /* permission bits, setuid, setgid, sticky */
	uint32_t uid, gid, devmajor, devminor;
	int64_t mtime;
	uint32_t mtime_nsec;
	size_t n_records;
	struct flatbuffer_vector records; /* for ztoc_record_get() */
};

/* What the zTOC calls xattrs are all pax records of the member; real ones begin with "SCHILY.xattr.". */
struct ztoc_record {
	const char *key, *value;
	size_t key_size, value_size;
};

struct ztoc_span {
	uint64_t off, size;
	uint64_t packed_off, packed_size; /* with bits != 0 the first byte is shared with the span before */
	uint8_t bits; /* of the first packed byte that belong to this span, 0 to 7 */
	const uint8_t *window; /* ZTOC_WINDOW_SIZE bytes; NULL: stored, or begins the blob's deflate stream */
	struct digest digest;  /* sha256 of the packed bytes */
};

struct ztoc;

int ztoc_parse(const void *data, size_t size, struct ztoc **ret);
void ztoc_free(struct ztoc **z);

bool ztoc_is_gzip(const struct ztoc *z);
uint64_t ztoc_packed_size(const struct ztoc *z); /* of the whole blob */
uint64_t ztoc_size(const struct ztoc *z);	 /* of the whole tar; of gzip without the padding behind its end mark */

size_t ztoc_n_files(const struct ztoc *z);
/* Files are in the order of the table. What a file says is checked here. */
int ztoc_file_get(const struct ztoc *z, size_t i, struct ztoc_file *ret);
int ztoc_record_get(const struct ztoc_file *f, size_t i, struct ztoc_record *ret);

/* Spans cover the tar from 0 to its end, in order. The last one may be empty; of gzip it may hold padding besides. */
size_t ztoc_n_spans(const struct ztoc *z);
void ztoc_span_get(const struct ztoc *z, size_t i, struct ztoc_span *ret);
