/* span_table: which range of a blob fills which range of a layer file, and how.
 *
 * Ownership  span_table_load() hands over a struct span_table that points into bytes of the
 *            caller's (a mapping), which must outlive it; span_table_free() ends it.
 * Units      Sizes and offsets count bytes. "packed" means inside the registry's blob.
 * Errors     -EBADMSG: a field points outside the table or the layer file. -EFBIG: a limit. Bare.
 * Threads    Never changes after load, so any thread reads it without a lock.
 * Source     Byte layout: span_table.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/digest.h"

#define SPAN_SIZE (1u << 20) /* of the spans we cut ourselves, in the layer file */
#define SPAN_WINDOW_MAX 32768u /* deflate refers to no more before it */
#define SPAN_CHAIN_MAX 64u /* spans one behind the other without a window of their own, and the one before them */

enum span_kind {
	SPAN_NONE = 0,	 /* as SPAN_STORED, but without a digest yet: so no way back, only streaming the
			    whole layer fills it */
	SPAN_STORED = 1, /* the packed bytes, as they are, are the plain bytes, and zeros up to the end of
			    the last page; packed_off counts in the uncompressed blob (the tar), whose
			    digest is the layer's diffID */
	SPAN_COPY = 2,	 /* expanded sparse bytes: filled together with what they were copied from */
	SPAN_GZIP = 3,	 /* raw deflate from a checkpoint; packed bytes begin with the byte that holds its
			    first bits, and may go on into further gzip members */
	SPAN_GZIP_MEMBER = 4, /* whole gzip members, the first beginning at packed_off */
	SPAN_ZSTD = 5,	      /* whole zstd frames, the first beginning at packed_off */
	SPAN_PASSING = 6,     /* of a blob that cannot be entered: comes only while the whole blob passes by, SPAN_SIZE at most */
};

enum span_digest {
	SPAN_DIGEST_PLAIN = 0,	/* of the `size` plain bytes, zeros at the end included */
	SPAN_DIGEST_PACKED = 1, /* of the packed bytes (SOCI) */
	SPAN_DIGEST_PACKED_LAST = 2, /* the same, of a layer's last span: behind its plain bytes may come the tar's padding */
};

/* What a checkpoint's window is stored as. */
enum span_window {
	SPAN_WINDOW_WHOLE = 0, /* all 32 KiB, zeros where the span refers to nothing */
	SPAN_WINDOW_USED = 1,  /* only the bytes that it refers to: decoding it tells which those are */
	SPAN_WINDOW_BEFORE = 2, /* it is not stored: the end of the span before, which has to be here first */
};

struct span {
	uint64_t off; /* in the layer file, a multiple of 4096 unless the table is a foreign one */
	uint64_t size;
	enum span_kind kind;
	uint64_t packed_off;
	uint64_t packed_size;
	uint64_t skip; /* plain bytes that decoding gives before the span's first one: dropped */
	uint8_t bits; /* SPAN_GZIP: of the first packed byte that belong to what is before, 0 to 7 */
	uint64_t window_off;  /* SPAN_GZIP: where the checkpoint's window, one zstd frame, lies in the windows */
	uint32_t window_size; /* 0: the checkpoint needs none, or it is not stored */
	enum span_window window_is; /* SPAN_GZIP */
	enum span_digest digest_of;
	struct digest digest; /* sha256 */
};

struct span_table;

int span_table_load(const void *data, size_t size, uint64_t layer_file_size, struct span_table **ret);
void span_table_free(struct span_table **t);
size_t span_table_count(const struct span_table *t);
void span_table_get(const struct span_table *t, size_t i, struct span *ret);

/* Bytes of the tar that the spans hold; what follows in the last one's page is zeros. 0 in a foreign table. */
uint64_t span_table_plain_size(const struct span_table *t);

/* Whether a span's bytes can be fetched again, by themselves. */
bool span_table_comes_back(const struct span *s);

/* Whether it is another format's: spans lie anywhere, and what lies between them is zeros and never fetched. */
bool span_table_is_foreign(const struct span_table *t);

/* Finds the span that holds byte `off` of the layer file, or the next one when none does. -ENODATA behind the last
 * one is expected. */
int span_table_at(const struct span_table *t, uint64_t off, size_t *ret_index);

/* Building: spans are added in ascending order, then the bytes are handed out. Unless `foreign` was set
 * before the first one, they have no gaps, and each but the last ends at a multiple of 4096. */
struct span_table_tail {
	struct span span; /* the last one; size 0: none */
	unsigned int chain; /* how many hang together with it, itself one of them, */
	uint64_t chain_off, chain_packed_off; /* and where the first of them begins */
};
struct span_table_builder {
	struct bytes out;
	bool foreign;
	uint64_t plain_size; /* to be set before the end */
	uint64_t next_off;
	struct span_table_tail tail;
	size_t n;
};
int span_table_add(struct span_table_builder *b, const struct span *span);
int span_table_finish(struct span_table_builder *b, struct bytes *ret);
void span_table_builder_free(struct span_table_builder *b);
