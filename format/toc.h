/* toc: the table of contents in JSON that eStargz and zstd:chunked layers carry, entry by entry.
 *
 * Only one entry at a time is a parsed document, so that a table of any size needs no more memory than its text.
 *
 * Ownership  toc_open() hands over and points into the caller's text, which must outlive it; toc_free() ends it. An
 *            entry points into the reader and is valid until the next toc_next().
 * Units      Bytes; packed ones count in the layer's blob.
 * Errors     -EBADMSG: not such a table. -EFBIG: a limit. -EOPNOTSUPP: another version, or a digest that is not
 *            sha256. Reported with the entry's name.
 * Threads    One reader is used by one thread at a time.
 * Source     stargz-snapshotter docs/estargz.md; containers/storage pkg/chunked (layouts only).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "format/tar.h"

struct toc_chunk { /* a part of a file's content */
	uint64_t off;	     /* in the file */
	uint64_t size;	     /* 0: to the end of the file */
	uint64_t packed_off; /* where the gzip member or zstd frame begins that holds it */
	uint64_t skip;	     /* plain bytes of that before the chunk's own ("innerOffset") */
	bool zeros;	     /* a hole: nothing is packed */
	struct digest digest; /* of the plain bytes; DIGEST_NONE: it has none of its own */
};

struct toc_entry {
	bool is_chunk;	/* one more of the file before it: nothing else but `chunk` counts */
	bool is_hidden; /* the formats' own: landmarks, the table itself */
	struct tar_member member; /* body_off is for the caller to say; size is 0 for what has no content */
	struct toc_chunk chunk;	  /* the first one, of a file that is not empty */
	uint64_t packed_end;	  /* of the whole file; 0: not said */
	struct digest digest;	  /* of the whole file; DIGEST_NONE: not said */
};

struct toc;

int toc_open(const void *text, size_t size, struct toc **ret);
void toc_free(struct toc **t);

/* 1 with an entry, 0 after the last. */
int toc_next(struct toc *t, struct toc_entry *ret);
