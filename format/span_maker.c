/* One pass: inflate, stop at edges, and when a span is complete find out what it needs of its window. */
#include "format/span_maker.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>
#include <zstd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "format/span_decode.h"

#define PAGE 4096u
#define WINDOW 32768u
#define OUT_SIZE (64u << 10)
#define SPAN_MAX (8u << 20) /* plain or packed, of a span of ours */
#define WINDOW_LEVEL 12
#define WINDOW_SHARE 30u /* a window is at most this part of the packed bytes that need not be fetched because of it, */
#define CHAIN_PLAIN (1u << 20) /* but these are no more */

/* A place where decoding may begin. */
struct edge {
	enum span_kind kind;
	uint64_t in, out; /* of the blob and of the tar */
	uint8_t bits;	  /* unused ones of the byte before `in` */
	uint32_t window_size;
	uint8_t window[WINDOW];
};

struct span_maker {
	enum decoder_kind kind;
	z_stream z;
	ZSTD_DCtx *zstd;
	uint64_t in, out;
	struct bytes packed; /* the blob from the present edge on, at least */
	uint64_t packed_off; /* of its first byte */
	struct edge edge, next;
	bool has_next;
	uint64_t start, end; /* of the present span; `end` is known when the next edge is */
	bool ended;	     /* the member or frame, at unit_end; another may follow, or padding */
	uint64_t unit_end;
	uint8_t history[WINDOW + OUT_SIZE]; /* the last bytes of this member, then new ones */
	size_t history_size;
	struct hash *span_hash, *all_hash;
	struct span_table_builder spans;
	uint64_t chain_in, chain_out; /* where the last span with a window, or without need of one, begins */
	struct bytes windows;
};

void span_maker_free(struct span_maker **maker)
{
	struct span_maker *m = *maker;

	if (!m)
		return;
	if (m->kind == DECODER_GZIP)
		inflateEnd(&m->z);
	ZSTD_freeDCtx(m->zstd);
	bytes_free(&m->packed);
	bytes_free(&m->windows);
	hash_free(&m->span_hash);
	hash_free(&m->all_hash);
	span_table_builder_free(&m->spans);
	free(m);
	*maker = NULL;
}

int span_maker_new(enum decoder_kind kind, struct span_maker **ret)
{
	_cleanup_(span_maker_free) struct span_maker *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->kind = DECODER_ZSTD;
	m->edge.kind = kind == DECODER_GZIP ? SPAN_GZIP_MEMBER : SPAN_ZSTD;
	if (kind == DECODER_GZIP) {
		if (inflateInit2(&m->z, 15 + 16) != Z_OK)
			return -ENOMEM;
		m->kind = DECODER_GZIP;
	} else {
		m->zstd = ZSTD_createDCtx();
		if (!m->zstd)
			return -ENOMEM;
		ZSTD_DCtx_setParameter(m->zstd, ZSTD_d_windowLogMax, LIMIT_ZSTD_WINDOW_LOG);
	}
	r = hash_new(DIGEST_SHA256, &m->span_hash);
	if (r == 0)
		r = hash_new(DIGEST_SHA256, &m->all_hash);
	if (r < 0)
		return r;
	*ret = TAKE(m);
	return 0;
}

/* Whether a window is not worth its bytes, and the span may do without. */
static bool is_too_large(const struct span_maker *m, const struct span *span, size_t window_size)
{
	const struct span_table_tail *t = &m->spans.tail;

	if (t->chain >= SPAN_CHAIN_MAX || t->span.size < span->skip + WINDOW || span->packed_off <= t->span.packed_off ||
	    span->packed_off + span->packed_size <= t->span.packed_off + t->span.packed_size)
		return false; /* as the table has it */
	return window_size > (span->packed_off - m->chain_in) / WINDOW_SHARE &&
	       span->off + span->size - m->chain_out <= CHAIN_PLAIN;
}

/* Stores what of the edge's window the span needs. */
static int add_window(struct span_maker *m, struct span *span, const uint8_t *packed)
{
	const size_t before = WINDOW - m->edge.window_size; /* of the blob's first bytes there are fewer */
	uint8_t used[WINDOW], window[WINDOW];
	size_t n = 0, bound, size;
	int r;

	if (span->kind != SPAN_GZIP || m->edge.window_size == 0)
		return 0;
	r = span_decode_used(span, packed, used);
	if (r < 0)
		return r;
	for (size_t i = before; i < WINDOW; i++)
		if (used[i])
			window[n++] = m->edge.window[i - before];
	if (n == 0)
		return 0;
	bound = ZSTD_compressBound(n);
	r = bytes_reserve(&m->windows, bound);
	if (r < 0)
		return r;
	size = ZSTD_compress(m->windows.data + m->windows.size, bound, window, n, WINDOW_LEVEL);
	if (is_too_large(m, span, size)) {
		span->window_is = SPAN_WINDOW_BEFORE;
		return 0;
	}
	span->window_is = SPAN_WINDOW_USED;
	span->window_off = m->windows.size;
	span->window_size = (uint32_t)size;
	m->windows.size += size;
	return 0;
}

/* Drops packed bytes that no span needs any more. */
static void drop_packed(struct span_maker *m, uint64_t until)
{
	size_t n = (size_t)(until - m->packed_off);

	memmove(m->packed.data, m->packed.data + n, m->packed.size - n);
	m->packed.size -= n;
	m->packed_off = until;
}

static uint64_t first_packed(const struct edge *e)
{
	return e->in - (e->bits ? 1 : 0);
}

/* What decoding needs beyond the bytes that were used so far. zstd gives back the last byte of a frame whose plain bytes
 * it could not all hand out, though it has used it; ISA-L looks up several symbols at once, and gives none of them when
 * the bits of the last one are missing. */
static uint64_t beyond(const struct span_maker *m)
{
	return m->ended ? 0 : m->kind == DECODER_ZSTD ? 1 : 8;
}

static uint64_t last_packed(const struct span_maker *m)
{
	uint64_t end = m->packed_off + m->packed.size, last = m->in + beyond(m);

	return m->ended ? m->unit_end : last < end ? last : end;
}

/* A span is only written when it decodes to what it should: it may be all that is left of its bytes. */
static int check_span(const struct span_maker *m, const struct span *span, const uint8_t *packed)
{
	_cleanup_(fd_free_memory) uint8_t *out = malloc((size_t)span->size);
	const uint8_t *window = span->window_size ? m->windows.data + span->window_off : NULL;
	struct span_before before = {.size = m->edge.window_size};
	int r = out ? 0 : -ENOMEM;

	memcpy(before.bytes, m->edge.window, before.size);
	if (r == 0)
		r = span->window_is == SPAN_WINDOW_BEFORE ? span_decode_behind(span, packed, &before, out) :
							    span_decode(span, packed, window, out);

	if (r == 0 && !span_decode_verify(span, packed, out))
		r = -EBADMSG;
	return r == -EBADMSG ? -EOPNOTSUPP : r;
}

/* The present span ends at `end`, a page edge, or the tar does in its last page; decoded bytes end at m->out. */
static int close_span(struct span_maker *m, uint64_t end)
{
	static const uint8_t zeros[PAGE];
	struct span span = {
		.off = m->start,
		.size = end - m->start,
		.kind = m->edge.kind,
		.packed_off = first_packed(&m->edge),
		.packed_size = last_packed(m) - first_packed(&m->edge),
		.skip = m->start - m->edge.out,
		.bits = m->edge.bits ? (uint8_t)(8 - m->edge.bits) : 0,
	};
	int r;

	if (span.size > SPAN_MAX || span.packed_size > SPAN_MAX)
		return -EOPNOTSUPP;
	hash_update(m->span_hash, zeros, (size_t)(end - (m->out < end ? m->out : end)));
	hash_finish(m->span_hash, &span.digest);
	r = add_window(m, &span, m->packed.data + (span.packed_off - m->packed_off));
	if (r == 0)
		r = check_span(m, &span, m->packed.data + (span.packed_off - m->packed_off));
	if (r == 0)
		r = span_table_add(&m->spans, &span);
	if (span.window_is != SPAN_WINDOW_BEFORE) {
		m->chain_in = span.packed_off;
		m->chain_out = span.off;
	}
	if (r < 0 || !m->has_next)
		return r;
	m->edge = m->next;
	m->has_next = false;
	m->start = end;
	drop_packed(m, first_packed(&m->edge));
	return 0;
}

/* Decoding could begin here; whether it shall depends on how far the last edge is. */
static void meet_edge(struct span_maker *m, enum span_kind kind, uint8_t bits)
{
	size_t n = m->history_size < WINDOW ? m->history_size : WINDOW;

	if (m->has_next || m->out - m->edge.out < SPAN_MAKER_SIZE)
		return;
	m->next = (struct edge){.kind = kind, .in = m->in, .out = m->out, .bits = bits};
	if (kind == SPAN_GZIP) {
		memcpy(m->next.window, m->history + m->history_size - n, n);
		m->next.window_size = (uint32_t)n;
	}
	m->end = (m->out + PAGE - 1) / PAGE * PAGE;
	m->has_next = true;
}

/* `n` new bytes lie behind the history. */
static void take_plain(struct span_maker *m, size_t n)
{
	const uint8_t *data = m->history + m->history_size;
	uint64_t from = m->out > m->start ? m->out : m->start; /* what precedes the span was the last one's */

	hash_update(m->all_hash, data, n);
	m->out += n;
	if (m->out > from)
		hash_update(m->span_hash, data + n - (size_t)(m->out - from), (size_t)(m->out - from));
	m->history_size += n;
	if (m->history_size <= WINDOW)
		return;
	memmove(m->history, m->history + m->history_size - WINDOW, WINDOW);
	m->history_size = WINDOW;
}

/* How much may come out at once: a span ends exactly where it should. */
static size_t room(const struct span_maker *m)
{
	return m->has_next && m->end - m->out < OUT_SIZE ? (size_t)(m->end - m->out) : OUT_SIZE;
}

/* One step; *ret_done when all packed bytes are taken and nothing is held back. */
static int gzip_step(struct span_maker *m, bool *ret_done)
{
	const size_t at = (size_t)(m->in - m->packed_off), left = m->packed.size - at, out = room(m);
	size_t made;
	int r;

	if (m->ended) {
		if (left == 0) {
			*ret_done = true;
			return 0;
		}
		if (m->packed.data[at] == 0) { /* padding, as gzip(1) ignores it */
			m->in++;
			return 0;
		}
		meet_edge(m, SPAN_GZIP_MEMBER, 0);
		inflateReset(&m->z);
		m->history_size = 0;
		m->ended = false;
		return 0;
	}
	m->z.next_in = m->packed.data ? m->packed.data + at : NULL;
	m->z.avail_in = (unsigned int)left;
	m->z.next_out = m->history + m->history_size;
	m->z.avail_out = (unsigned int)out;
	r = inflate(&m->z, Z_BLOCK);
	made = out - m->z.avail_out;
	m->in += left - m->z.avail_in;
	take_plain(m, made);
	if (r == Z_STREAM_END) {
		m->ended = true;
		m->unit_end = m->in;
	} else if (r != Z_OK && r != Z_BUF_ERROR) {
		return r == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
	} else if ((m->z.data_type & 128) && !(m->z.data_type & 64) && m->history_size) {
		meet_edge(m, SPAN_GZIP, (uint8_t)(m->z.data_type & 7));
	}
	*ret_done = r == Z_BUF_ERROR && m->z.avail_in == 0;
	return r == Z_BUF_ERROR && m->z.avail_in ? -EBADMSG : 0;
}

static int zstd_step(struct span_maker *m, bool *ret_done)
{
	const size_t at = (size_t)(m->in - m->packed_off);
	ZSTD_inBuffer from = {m->packed.data ? m->packed.data + at : NULL, m->packed.size - at, 0};
	ZSTD_outBuffer to = {m->history + m->history_size, room(m), 0};
	size_t r;

	if (m->ended && from.size > 0) {
		meet_edge(m, SPAN_ZSTD, 0);
		to.size = room(m);
		m->ended = false;
	}
	if (from.size == 0 && (m->ended || m->in == 0)) {
		*ret_done = true;
		return 0;
	}
	r = ZSTD_decompressStream(m->zstd, &to, &from);
	if (ZSTD_isError(r))
		return -EBADMSG;
	m->in += from.pos;
	take_plain(m, to.pos);
	m->ended = r == 0;
	if (m->ended)
		m->unit_end = m->in;
	*ret_done = from.pos == from.size && to.pos < to.size;
	return 0;
}

/* Closes the span whose end is reached; `last`: no more bytes will come. */
static int settle(struct span_maker *m, bool last)
{
	if (!m->has_next || m->out < m->end)
		return 0;
	if (!m->ended && !last && m->in + beyond(m) > m->packed_off + m->packed.size)
		return 0; /* the bytes of last_packed() are still to come */
	return close_span(m, m->end);
}

int span_maker_feed(struct span_maker *m, const void *packed, size_t size)
{
	bool done = false;
	int r = bytes_append(&m->packed, packed, size);

	if (r == 0)
		r = settle(m, false);
	while (r == 0 && !done && room(m) > 0) {
		r = m->kind == DECODER_GZIP ? gzip_step(m, &done) : zstd_step(m, &done);
		if (r == 0)
			r = settle(m, false);
	}
	if (r == 0 && (m->packed.size > 2 * SPAN_MAX + size || m->out - m->edge.out > 2 * SPAN_MAX))
		return -EOPNOTSUPP;
	return r;
}

int span_maker_finish(struct span_maker *m, struct span_table_builder *spans, struct bytes *ret_windows,
		      struct digest *ret_plain, uint64_t *ret_plain_size)
{
	int r = m->ended ? settle(m, true) : -EBADMSG;

	m->has_next = false;
	if (r == 0 && m->out > m->start)
		r = close_span(m, (m->out + PAGE - 1) / PAGE * PAGE);
	if (r < 0)
		return r;
	hash_finish(m->all_hash, ret_plain);
	*ret_plain_size = m->out;
	m->spans.plain_size = m->out;
	*spans = m->spans;
	m->spans = (struct span_table_builder){0};
	*ret_windows = m->windows;
	m->windows = (struct bytes){0};
	return 0;
}
