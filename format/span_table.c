/* A span table is checked as a whole when it is loaded; then spans are found by binary search in its bytes.
 *
 * Byte layout, little-endian:
 *     8  magic "lrspans3"; "lrspans2": all windows are SPAN_WINDOW_WHOLE
 *     8  number of spans
 *     8  1: a foreign table, whose spans may lie anywhere, with gaps; 0: they go, each but the last to a
 *        multiple of 4096, from 0 to the end of the layer file without a gap
 *     8  bytes of the tar in the spans, 0 in a foreign table
 *    88  each span, ascending; a field that its kind has no use for is 0:
 *           8  off
 *           8  size         more than 0
 *           8  packed_off
 *           8  packed_size
 *           8  skip
 *           8  window_off
 *           4  window_size
 *           1  kind         enum span_kind
 *           1  bits
 *           1  digest_of    enum span_digest
 *           1  window_is    enum span_window
 *          32  sha256
 *
 * A span with SPAN_WINDOW_BEFORE follows another of deflate, in the blob too, which holds all 32 KiB before its
 * checkpoint; at most SPAN_CHAIN_MAX in a row hang together like this, no more bytes than one span may have. A foreign
 * table has none.
 */
#include "format/span_table.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/limits.h"

#define MAGIC "lrspans3"
#define MAGIC_WHOLE "lrspans2"
#define SPAN_ALIGN 4096u

struct disk_header {
	char magic[8];
	uint64_t n;
	uint64_t foreign;
	uint64_t plain_size;
} __attribute__((packed));
static_assert(sizeof(struct disk_header) == 32, "span table header");

struct disk_span {
	uint64_t off;
	uint64_t size;
	uint64_t packed_off;
	uint64_t packed_size;
	uint64_t skip;
	uint64_t window_off;
	uint32_t window_size;
	uint8_t kind;
	uint8_t bits;
	uint8_t digest_of;
	uint8_t window_is;
	uint8_t sha256[32];
} __attribute__((packed));
static_assert(sizeof(struct disk_span) == 88, "span of a span table");

struct span_table {
	const uint8_t *spans;
	size_t n;
	bool foreign, whole_windows;
	uint64_t plain_size, layer_file_size;
};

static bool checkpoint_is_right(const struct span *s)
{
	if (s->kind != SPAN_GZIP)
		return s->bits == 0 && s->window_off == 0 && s->window_size == 0 && s->window_is == SPAN_WINDOW_WHOLE;
	if (s->bits >= 8 || s->window_size > LIMIT_WINDOW_SIZE || s->window_off > LIMIT_BLOB_SIZE)
		return false;
	if (s->window_size)
		return s->window_is <= SPAN_WINDOW_USED;
	return s->window_off == 0 && (s->window_is == SPAN_WINDOW_WHOLE || s->window_is == SPAN_WINDOW_BEFORE);
}

/* Whether the packed range makes sense for the kind, and stays inside what a blob can be. */
static bool packed_is_right(const struct span *s)
{
	if (!checkpoint_is_right(s) || s->digest_of > SPAN_DIGEST_PACKED_LAST)
		return false;
	switch (s->kind) {
	case SPAN_PASSING:
		if (s->digest_of != SPAN_DIGEST_PLAIN || s->size > SPAN_SIZE)
			return false;
		/* fallthrough */
	case SPAN_COPY:
		return s->packed_off == 0 && s->packed_size == 0 && s->skip == 0;
	case SPAN_NONE: /* what it will be when it gets its digest */
	case SPAN_STORED:
		/* A tar may end inside its last page; zeros follow it there. */
		return s->packed_size <= s->size && s->size - s->packed_size < SPAN_ALIGN && s->skip == 0 &&
		       s->size <= LIMIT_SPAN_SIZE && s->packed_off <= LIMIT_LAYER_FILE_SIZE;
	case SPAN_GZIP:
	case SPAN_GZIP_MEMBER:
	case SPAN_ZSTD:
		return s->packed_size > 0 && s->packed_size <= LIMIT_SPAN_SIZE && s->packed_off <= LIMIT_BLOB_SIZE &&
		       s->size <= LIMIT_SPAN_SIZE && s->skip <= LIMIT_SPAN_SIZE;
	}
	return false;
}

static bool window_is_right(const struct span *s, bool foreign, const struct span_table_tail *p)
{
	if (s->window_is != SPAN_WINDOW_BEFORE)
		return true;
	return !foreign && (p->span.kind == SPAN_GZIP || p->span.kind == SPAN_GZIP_MEMBER) && p->chain < SPAN_CHAIN_MAX &&
	       p->span.size >= s->skip + SPAN_WINDOW_MAX && s->packed_off > p->span.packed_off &&
	       s->packed_off + s->packed_size > p->span.packed_off + p->span.packed_size &&
	       s->off + s->size - p->chain_off <= LIMIT_SPAN_SIZE &&
	       s->packed_off + s->packed_size - p->chain_packed_off <= LIMIT_SPAN_SIZE;
}

static bool span_is_right(const struct span *s, bool foreign, const struct span_table_tail *p, uint64_t layer_file_size)
{
	const uint64_t off = p->span.off + p->span.size;

	if (foreign ? s->off < off : s->off != off || off % SPAN_ALIGN)
		return false;
	return s->off <= layer_file_size && s->size > 0 && s->size <= layer_file_size - s->off && packed_is_right(s) &&
	       window_is_right(s, foreign, p);
}

static void precede(struct span_table_tail *p, const struct span *s)
{
	p->chain++;
	if (s->window_is != SPAN_WINDOW_BEFORE)
		*p = (struct span_table_tail){.chain = 1, .chain_off = s->off, .chain_packed_off = s->packed_off};
	p->span = *s;
}

int span_table_load(const void *data, size_t size, uint64_t layer_file_size, struct span_table **ret)
{
	_cleanup_(span_table_free) struct span_table *t = NULL;
	struct span_table_tail p = {0};
	struct disk_header header;
	bool whole;

	if (layer_file_size > LIMIT_LAYER_FILE_SIZE)
		return -EFBIG;
	if (size < sizeof(header))
		return -EBADMSG;
	memcpy(&header, data, sizeof(header));
	whole = memcmp(header.magic, MAGIC_WHOLE, sizeof(header.magic)) == 0;
	if ((!whole && memcmp(header.magic, MAGIC, sizeof(header.magic)) != 0) ||
	    le64toh(header.n) != (size - sizeof(header)) / sizeof(struct disk_span) ||
	    (size - sizeof(header)) % sizeof(struct disk_span) || le64toh(header.foreign) > 1 ||
	    le64toh(header.plain_size) > layer_file_size || (header.foreign && header.plain_size))
		return -EBADMSG;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->spans = (const uint8_t *)data + sizeof(header);
	t->n = le64toh(header.n);
	t->foreign = header.foreign;
	t->whole_windows = whole;
	t->plain_size = le64toh(header.plain_size);
	t->layer_file_size = layer_file_size;
	for (size_t i = 0; i < t->n; i++) {
		struct span s;

		span_table_get(t, i, &s);
		if (!span_is_right(&s, t->foreign, &p, layer_file_size))
			return -EBADMSG;
		precede(&p, &s);
	}
	if (!t->foreign && p.span.off + p.span.size != layer_file_size)
		return -EBADMSG;
	*ret = TAKE(t);
	return 0;
}

void span_table_free(struct span_table **t)
{
	free(*t);
	*t = NULL;
}

uint64_t span_table_plain_size(const struct span_table *t)
{
	return t->plain_size;
}

bool span_table_comes_back(const struct span *s)
{
	return s->kind != SPAN_NONE && s->kind != SPAN_COPY && s->kind != SPAN_PASSING;
}

bool span_table_is_foreign(const struct span_table *t)
{
	return t->foreign;
}

size_t span_table_count(const struct span_table *t)
{
	return t->n;
}

void span_table_get(const struct span_table *t, size_t i, struct span *ret)
{
	struct disk_span d;

	assert(i < t->n);
	memcpy(&d, t->spans + i * sizeof(d), sizeof(d));
	*ret = (struct span){
		.off = le64toh(d.off),
		.size = le64toh(d.size),
		.kind = d.kind,
		.packed_off = le64toh(d.packed_off),
		.packed_size = le64toh(d.packed_size),
		.skip = le64toh(d.skip),
		.bits = d.bits,
		.window_off = le64toh(d.window_off),
		.window_size = le32toh(d.window_size),
		.window_is = t->whole_windows ? SPAN_WINDOW_WHOLE : d.window_is,
		.digest_of = d.digest_of,
		.digest.algorithm = DIGEST_SHA256,
	};
	memcpy(ret->digest.bytes, d.sha256, sizeof(d.sha256));
}

int span_table_at(const struct span_table *t, uint64_t off, size_t *ret_index)
{
	size_t low = 0, high = t->n; /* all before `low` end at or before off, all from `high` on behind it */

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct span s;

		span_table_get(t, middle, &s);
		if (s.off + s.size <= off)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == t->n)
		return -ENODATA;
	*ret_index = low;
	return 0;
}

int span_table_add(struct span_table_builder *b, const struct span *span)
{
	const struct disk_header header = {.magic = MAGIC};
	struct disk_span d = {
		.off = htole64(span->off),
		.size = htole64(span->size),
		.packed_off = htole64(span->packed_off),
		.packed_size = htole64(span->packed_size),
		.skip = htole64(span->skip),
		.window_off = htole64(span->window_off),
		.window_size = htole32(span->window_size),
		.kind = (uint8_t)span->kind,
		.bits = span->bits,
		.digest_of = (uint8_t)span->digest_of,
		.window_is = (uint8_t)span->window_is,
	};
	int r;

	assert(span->digest.algorithm == DIGEST_SHA256);
	assert(span_is_right(span, b->foreign, &b->tail, LIMIT_LAYER_FILE_SIZE));
	memcpy(d.sha256, span->digest.bytes, sizeof(d.sha256));
	if (b->n == 0) {
		b->out.size = 0;
		r = bytes_append(&b->out, &header, sizeof(header));
		if (r < 0)
			return r;
	}
	r = bytes_append(&b->out, &d, sizeof(d));
	if (r < 0)
		return r;
	precede(&b->tail, span);
	b->next_off = span->off + span->size;
	b->n++;
	return 0;
}

int span_table_finish(struct span_table_builder *b, struct bytes *ret)
{
	struct disk_header header = {.magic = MAGIC, .n = htole64(b->n), .foreign = htole64(b->foreign),
				     .plain_size = htole64(b->plain_size)};
	int r = b->n == 0 ? bytes_append(&b->out, &header, sizeof(header)) : 0;

	if (r < 0)
		return r;
	memcpy(b->out.data, &header, sizeof(header));
	*ret = b->out;
	*b = (struct span_table_builder){0};
	return 0;
}

void span_table_builder_free(struct span_table_builder *b)
{
	bytes_free(&b->out);
	*b = (struct span_table_builder){0};
}
