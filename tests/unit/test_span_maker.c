/* span_maker and span_decode: every span of a blob gives its own bytes back, from its packed bytes alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "format/span_decode.h"
#include "format/span_maker.h"

#define PLAIN_SIZE ((3u << 20) + 12345u)

/* Words that come again near and far, so that blocks refer across edges. */
static uint8_t *make_plain(void)
{
	uint8_t *plain = malloc(PLAIN_SIZE);
	uint64_t seed = 88172645463325252u;
	size_t at = 0;

	assert_non_null(plain);
	while (at < PLAIN_SIZE) {
		size_t n;

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		n = seed % 60 + 4;
		if (n > PLAIN_SIZE - at)
			n = PLAIN_SIZE - at;
		if (at > 40000 && seed >> 60 < 11)
			memmove(plain + at, plain + at - 100 - (seed >> 20) % 32000, n);
		else
			for (size_t i = 0; i < n; i++)
				plain[at + i] = (uint8_t)(seed >> (i % 8 * 7));
		at += n;
	}
	return plain;
}

static void add_member(struct bytes *blob, const uint8_t *plain, size_t size, int level, int strategy)
{
	z_stream z = {0};

	assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, strategy), Z_OK);
	assert_int_equal(bytes_reserve(blob, deflateBound(&z, size) + 64), 0);
	z.next_in = (uint8_t *)(uintptr_t)plain;
	z.avail_in = (unsigned int)size;
	z.next_out = blob->data + blob->size;
	z.avail_out = (unsigned int)(blob->capacity - blob->size);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	blob->size += z.total_out;
	deflateEnd(&z);
}

static void add_frame(struct bytes *blob, const uint8_t *plain, size_t size)
{
	assert_int_equal(bytes_reserve(blob, ZSTD_compressBound(size)), 0);
	blob->size += ZSTD_compress(blob->data + blob->size, ZSTD_compressBound(size), plain, size, 3);
}

static int feed_all(const struct bytes *blob, enum decoder_kind kind, size_t piece, struct span_table_builder *spans,
		    struct bytes *windows, struct digest *plain, uint64_t *size)
{
	_cleanup_(span_maker_free) struct span_maker *m = NULL;
	int r = span_maker_new(kind, &m);

	for (size_t at = 0; r == 0 && at < blob->size; at += piece)
		r = span_maker_feed(m, blob->data + at, blob->size - at < piece ? blob->size - at : piece);
	return r < 0 ? r : span_maker_finish(m, spans, windows, plain, size);
}

/* From the plain bytes before it, when it has no window of its own. */
static int decode(const struct span *s, const uint8_t *packed, const struct bytes *windows, const uint8_t *plain, uint8_t *out)
{
	struct span_before before = {.size = SPAN_WINDOW_MAX};

	if (s->window_is != SPAN_WINDOW_BEFORE)
		return span_decode(s, packed, windows->data + s->window_off, out);
	assert_true(s->off >= s->skip + SPAN_WINDOW_MAX);
	memcpy(before.bytes, plain + s->off - s->skip - SPAN_WINDOW_MAX, SPAN_WINDOW_MAX);
	assert_int_equal(span_decode(s, packed, NULL, out), -EBADMSG);
	return span_decode_behind(s, packed, &before, out);
}

/* Decodes the spans from the last to the first. */
static void check_spans(const struct bytes *blob, const struct bytes *table, const struct bytes *windows,
			const uint8_t *plain, size_t plain_size)
{
	_cleanup_(span_table_free) struct span_table *t = NULL;
	const uint64_t file_size = (plain_size + 4095) / 4096 * 4096;
	size_t n_behind = 0;

	assert_int_equal(span_table_load(table->data, table->size, file_size, &t), 0);
	assert_int_equal(span_table_plain_size(t), plain_size);
	for (size_t i = span_table_count(t); i-- > 0;) {
		_cleanup_(fd_free_memory) uint8_t *packed = NULL, *out = NULL;
		struct span s;
		size_t real;

		span_table_get(t, i, &s);
		n_behind += s.window_is == SPAN_WINDOW_BEFORE;
		assert_true(s.packed_off + s.packed_size <= blob->size);
		assert_true(s.window_off + s.window_size <= windows->size);
		packed = malloc(s.packed_size); /* its own, so that a sanitizer sees who reads on */
		out = malloc(s.size);
		memcpy(packed, blob->data + s.packed_off, s.packed_size);
		assert_int_equal(decode(&s, packed, windows, plain, out), 0);
		real = plain_size - s.off < s.size ? plain_size - s.off : s.size;
		assert_memory_equal(out, plain + s.off, real);
		assert_true(span_decode_verify(&s, packed, out));
		out[0] ^= 1;
		assert_false(span_decode_verify(&s, packed, out));
	}
	print_message("%zu spans, %zu without a window of their own\n", span_table_count(t), n_behind);
}

static void check(const struct bytes *blob, enum decoder_kind kind, const uint8_t *plain, size_t plain_size,
		  size_t at_least)
{
	const size_t pieces[] = {1u << 20, 70001, 4099, 61};
	_cleanup_(bytes_free) struct bytes first = {0};

	for (size_t k = 0; k < sizeof(pieces) / sizeof(pieces[0]); k++) {
		_cleanup_(span_table_builder_free) struct span_table_builder spans = {0};
		_cleanup_(bytes_free) struct bytes windows = {0}, table = {0};
		struct digest got, want;
		uint64_t size;

		assert_int_equal(feed_all(blob, kind, pieces[k], &spans, &windows, &got, &size), 0);
		assert_int_equal(size, plain_size);
		hash_bytes(plain, plain_size, &want);
		assert_true(digest_equal(&got, &want));
		assert_true(spans.n >= at_least);
		assert_int_equal(span_table_finish(&spans, &table), 0);
		if (k == 0) {
			check_spans(blob, &table, &windows, plain, plain_size);
			assert_int_equal(bytes_append(&first, table.data, table.size), 0);
			print_message("%zu packed, %u spans, windows %zu\n", blob->size,
				      (unsigned int)((table.size - 32) / 88), windows.size);
		} else {
			assert_int_equal(table.size, first.size); /* however the blob comes */
			assert_memory_equal(table.data, first.data, first.size);
		}
	}
}

static void gzip_blobs_are_cut_at_block_edges(void **state)
{
	_cleanup_(fd_free_memory) uint8_t *plain = make_plain();
	const int levels[][2] = {{1, Z_DEFAULT_STRATEGY}, {6, Z_DEFAULT_STRATEGY}, {9, Z_DEFAULT_STRATEGY},
				 {6, Z_FIXED}, {6, Z_HUFFMAN_ONLY}, {0, Z_DEFAULT_STRATEGY}};

	(void)state;
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		_cleanup_(bytes_free) struct bytes blob = {0};

		add_member(&blob, plain, PLAIN_SIZE, levels[i][0], levels[i][1]);
		check(&blob, DECODER_GZIP, plain, PLAIN_SIZE, 8);
	}
}

static void members_follow_one_another(void **state)
{
	_cleanup_(fd_free_memory) uint8_t *plain = make_plain();
	const size_t sizes[] = {300000, 1, 0, 100000, 700000, 5000, 4096};
	_cleanup_(bytes_free) struct bytes blob = {0};
	size_t at = 0;

	(void)state;
	for (size_t i = 0; at < PLAIN_SIZE; i++) {
		size_t n = sizes[i % 7] < PLAIN_SIZE - at ? sizes[i % 7] : PLAIN_SIZE - at;

		add_member(&blob, plain + at, n, 6, Z_DEFAULT_STRATEGY);
		at += n;
	}
	assert_int_equal(bytes_append(&blob, (uint8_t[100]){0}, 100), 0); /* padding */
	check(&blob, DECODER_GZIP, plain, PLAIN_SIZE, 8);
}

static void zstd_frames_are_the_edges(void **state)
{
	_cleanup_(fd_free_memory) uint8_t *plain = make_plain();
	const size_t sizes[] = {100000, 70001, 300000, 1, 0, 65536};
	_cleanup_(bytes_free) struct bytes blob = {0};
	size_t at = 0;

	(void)state;
	for (size_t i = 0; at < PLAIN_SIZE; i++) {
		size_t n = sizes[i % 6] < PLAIN_SIZE - at ? sizes[i % 6] : PLAIN_SIZE - at;

		add_frame(&blob, plain + at, n);
		if (i == 3)
			assert_int_equal(bytes_append(&blob, "\x50\x2a\x4d\x18\x03\0\0\0abc", 11), 0);
		at += n;
	}
	check(&blob, DECODER_ZSTD, plain, PLAIN_SIZE, 6);
}

/* A writer of deflate with its fixed codes. */
struct bits {
	uint8_t bytes[80000], plain[80000];
	size_t n, n_plain;
	uint64_t seed;
};

static void put_bits(struct bits *b, unsigned int value, int n)
{
	for (int i = 0; i < n; i++, b->n++)
		b->bytes[b->n / 8] |= (uint8_t)((value >> i & 1) << b->n % 8);
}

static void put_code(struct bits *b, unsigned int value, int n)
{
	while (n-- > 0)
		put_bits(b, value >> n, 1);
}

static void put_literal(struct bits *b, uint8_t c)
{
	if (c < 144)
		put_code(b, 0x30u + c, 8);
	else
		put_code(b, 0x190u + c - 144, 9);
	b->plain[b->n_plain++] = c;
}

/* 258 bytes from 30,000 before. */
static void put_match(struct bits *b)
{
	put_code(b, 0xc0 + 285 - 280, 8);
	put_code(b, 29, 5);
	put_bits(b, 30000 - 24577, 13);
	for (int i = 0; i < 258; i++, b->n_plain++)
		b->plain[b->n_plain] = b->plain[b->n_plain - 30000];
}

static void put_block(struct bits *b, unsigned int last, size_t literals)
{
	put_bits(b, last, 1);
	put_bits(b, 1, 2);
	for (size_t i = 0; i < literals; i++) {
		b->seed = b->seed * 6364136223846793005u + 1442695040888963407u;
		put_literal(b, (uint8_t)(b->seed >> 56));
	}
}

/* The last match goes on over the page where the span before ends, so both end with the same packed byte. */
static void the_last_span_ends_with_the_one_before(void **state)
{
	_cleanup_(fd_free_memory) struct bits *b = calloc(1, sizeof(*b));

	(void)state;
	for (size_t moved = 0; moved < 8; moved++) {
		_cleanup_(bytes_free) struct bytes blob = {0};
		uint32_t tail[2];
		size_t end;

		*b = (struct bits){.bytes = {0x1f, 0x8b, 8}, .n = 80};
		put_block(b, 0, 40000);
		put_code(b, 0, 7);
		put_block(b, 0, 33828);
		put_code(b, 0, 7);
		end = (b->n_plain + 4095) / 4096 * 4096;
		put_block(b, 1, moved);
		while (b->n_plain <= end)
			put_match(b);
		put_code(b, 0, 7);
		tail[0] = (uint32_t)crc32(0, b->plain, (unsigned int)b->n_plain);
		tail[1] = (uint32_t)b->n_plain;
		assert_int_equal(bytes_append(&blob, b->bytes, (b->n + 7) / 8), 0);
		assert_int_equal(bytes_append(&blob, tail, sizeof(tail)), 0);
		check(&blob, DECODER_GZIP, b->plain, b->n_plain, 3);
	}
}

static void small_and_empty_blobs(void **state)
{
	_cleanup_(bytes_free) struct bytes one = {0}, none = {0};

	(void)state;
	add_member(&one, (const uint8_t *)"x", 1, 6, Z_DEFAULT_STRATEGY);
	check(&one, DECODER_GZIP, (const uint8_t *)"x", 1, 1);
	add_member(&none, (const uint8_t *)"", 0, 6, Z_DEFAULT_STRATEGY);
	check(&none, DECODER_GZIP, (const uint8_t *)"", 0, 0);
}

static void one_big_frame_has_no_way_in(void **state)
{
	const size_t size = 40u << 20;
	_cleanup_(fd_free_memory) uint8_t *plain = calloc(1, size);
	_cleanup_(span_table_builder_free) struct span_table_builder spans = {0};
	_cleanup_(bytes_free) struct bytes blob = {0}, windows = {0};
	struct digest d;
	uint64_t n;

	(void)state;
	add_frame(&blob, plain, size);
	assert_int_equal(feed_all(&blob, DECODER_ZSTD, 1u << 20, &spans, &windows, &d, &n), -EOPNOTSUPP);
}

static void cut_and_corrupt_blobs_are_refused(void **state)
{
	_cleanup_(fd_free_memory) uint8_t *plain = make_plain();
	_cleanup_(bytes_free) struct bytes blob = {0};
	struct digest d;
	uint64_t n;

	(void)state;
	add_member(&blob, plain, 600000, 6, Z_DEFAULT_STRATEGY);
	for (int k = 0; k < 2; k++) {
		_cleanup_(span_table_builder_free) struct span_table_builder spans = {0};
		_cleanup_(bytes_free) struct bytes windows = {0};

		if (k == 0)
			blob.size -= 9;
		else
			blob.data[blob.size / 2] ^= 0xff;
		assert_int_equal(feed_all(&blob, DECODER_GZIP, 1u << 20, &spans, &windows, &d, &n), -EBADMSG);
	}
}

static void wrong_spans_are_refused(void **state)
{
	_cleanup_(fd_free_memory) uint8_t *plain = make_plain(), *out = malloc(1u << 20);
	_cleanup_(bytes_free) struct bytes blob = {0};
	struct span s = {.size = 8192, .kind = SPAN_GZIP_MEMBER};

	(void)state;
	add_member(&blob, plain, 10000, 6, Z_DEFAULT_STRATEGY);
	s.packed_size = blob.size;
	assert_int_equal(span_decode(&s, blob.data, NULL, out), 0);
	s.size = 12288; /* the last page is filled up */
	assert_int_equal(span_decode(&s, blob.data, NULL, out), 0);
	s.size = 16384;
	assert_int_equal(span_decode(&s, blob.data, NULL, out), -EBADMSG);
	s.size = 4096;
	s.skip = 10001;
	assert_int_equal(span_decode(&s, blob.data, NULL, out), -EBADMSG);
	s.kind = SPAN_GZIP;
	s.skip = 0;
	s.window_size = 5;
	assert_int_equal(span_decode(&s, blob.data, (const uint8_t *)"wrong", out), -EBADMSG);
	s.kind = SPAN_COPY;
	assert_int_equal(span_decode(&s, blob.data, NULL, out), -EOPNOTSUPP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gzip_blobs_are_cut_at_block_edges),
		cmocka_unit_test(members_follow_one_another),
		cmocka_unit_test(zstd_frames_are_the_edges),
		cmocka_unit_test(the_last_span_ends_with_the_one_before),
		cmocka_unit_test(small_and_empty_blobs),
		cmocka_unit_test(one_big_frame_has_no_way_in),
		cmocka_unit_test(cut_and_corrupt_blobs_are_refused),
		cmocka_unit_test(wrong_spans_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
