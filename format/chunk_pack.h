/* chunk_pack: the members of a tar, as they pass, become a blob whose parts can be read by themselves: eStargz or
 * zstd:chunked, with its table of contents.
 *
 * Every file's body is cut into chunks, each a gzip member or zstd frame; what lies between bodies is one too. The
 * tar stays what it is, byte for byte; eStargz gets its table as one member more before the tar's end.
 *
 * Ownership  chunk_pack_new() hands over and borrows `fd`, which takes the blob; chunk_pack_free() ends it.
 * Units      Bytes of the plain tar, unless they are called packed.
 * Errors     -EOPNOTSUPP: the format cannot hold this layer (sparse members, names or times that JSON cannot have):
 *            bare; nothing but a plain pack (`with_table` false) is possible. Others as of the calls, reported.
 * Threads    One thread at a time.
 * Source     toc.h, toc_place.h; tar-split as github.com/vbatts/tar-split writes it (its JSON lines).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/digest.h"
#include "format/tar.h"
#include "format/toc_place.h"

struct chunk_pack;

int chunk_pack_new(enum toc_kind kind, bool with_table, int fd, struct chunk_pack **ret);
void chunk_pack_free(struct chunk_pack **p);

/* What is said of each member before its body passes. */
int chunk_pack_member(struct chunk_pack *p, const struct tar_member *m);

/* The next bytes of the tar. A member must have been said before its first body byte comes. */
int chunk_pack_feed(struct chunk_pack *p, const uint8_t *data, size_t size);

struct chunk_packed {
	struct digest digest;  /* of the blob */
	struct digest diff_id; /* of its plain bytes */
	uint64_t size;
	struct digest toc_packed, toc_plain; /* DIGEST_NONE: no table */
	uint64_t toc_off, toc_packed_size, toc_plain_size;
	uint64_t split_off, split_packed_size, split_plain_size; /* tar-split; 0: none */
};
int chunk_pack_finish(struct chunk_pack *p, struct chunk_packed *ret);
