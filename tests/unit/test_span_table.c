/* span_table gives back what was put in, finds each byte's span, and refuses tables that do not cover the layer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/limits.h"
#include "format/span_table.h"

#define N 5

static void make(struct bytes *ret)
{
	_cleanup_(span_table_builder_free) struct span_table_builder b = {0};

	for (uint64_t i = 0; i < N; i++) {
		struct span s = {.off = i * 8192,
				 .size = 8192,
				 .kind = SPAN_STORED,
				 .packed_off = i * 8192,
				 .packed_size = 8192,
				 .digest = {.algorithm = DIGEST_SHA256}};

		memset(s.digest.bytes, (int)i + 1, 32);
		if (i == N - 2)
			s.packed_size = 5000;
		if (i == N - 1)
			s = (struct span){.off = i * 8192, .size = 4096, .kind = SPAN_COPY, .digest = s.digest};
		assert_int_equal(span_table_add(&b, &s), 0);
	}
	assert_int_equal(span_table_finish(&b, ret), 0);
}

static void finds_the_span_of_each_byte(void **state)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	_cleanup_(span_table_free) struct span_table *t = NULL;
	const uint64_t end = (N - 1) * 8192 + 4096;
	struct span s;
	size_t i;

	(void)state;
	make(&b);
	assert_int_equal(span_table_load(b.data, b.size, end, &t), 0);
	assert_int_equal(span_table_count(t), N);
	for (uint64_t off = 0; off < end; off += 1024) {
		assert_int_equal(span_table_at(t, off, &i), 0);
		span_table_get(t, i, &s);
		assert_true(s.off <= off && off < s.off + s.size);
		assert_int_equal(s.digest.bytes[31], i + 1);
	}
	assert_int_equal(s.kind, SPAN_COPY);
	assert_int_equal(span_table_at(t, end, &i), -ENODATA);
	assert_int_equal(span_table_at(t, UINT64_MAX, &i), -ENODATA);
}

static void keeps_every_field(void **state)
{
	_cleanup_(span_table_builder_free) struct span_table_builder builder = {.foreign = true};
	_cleanup_(span_table_free) struct span_table *t = NULL;
	_cleanup_(bytes_free) struct bytes b = {0};
	const struct span in[] = {
		{.off = 512, .size = 3000, .kind = SPAN_GZIP_MEMBER, .packed_size = 900, .digest_of = SPAN_DIGEST_PACKED},
		{.off = 4096, .size = 10, .kind = SPAN_ZSTD, .packed_off = 900, .packed_size = 30, .skip = 7},
		{.off = 5000, .size = 50000, .kind = SPAN_GZIP, .packed_off = 930, .packed_size = 40, .skip = 9,
		 .bits = 7, .window_off = 12, .window_size = 34, .window_is = SPAN_WINDOW_USED},
		{.off = 55000, .size = 100, .kind = SPAN_PASSING},
	};
	struct span out;
	size_t i;

	(void)state;
	for (i = 0; i < 4; i++) {
		struct span s = in[i];

		s.digest.algorithm = DIGEST_SHA256;
		assert_int_equal(span_table_add(&builder, &s), 0);
	}
	assert_int_equal(span_table_finish(&builder, &b), 0);
	assert_int_equal(span_table_load(b.data, b.size, 60000, &t), 0);
	assert_true(span_table_is_foreign(t));
	assert_int_equal(span_table_plain_size(t), 0);
	for (i = 0; i < 4; i++) {
		span_table_get(t, i, &out);
		assert_int_equal(out.off, in[i].off);
		assert_int_equal(out.size, in[i].size);
		assert_int_equal(out.kind, in[i].kind);
		assert_int_equal(out.packed_off, in[i].packed_off);
		assert_int_equal(out.packed_size, in[i].packed_size);
		assert_int_equal(out.skip, in[i].skip);
		assert_int_equal(out.bits, in[i].bits);
		assert_int_equal(out.window_off, in[i].window_off);
		assert_int_equal(out.window_size, in[i].window_size);
		assert_int_equal(out.window_is, in[i].window_is);
		assert_int_equal(out.digest_of, in[i].digest_of);
	}
	/* What lies in no span is followed by the next one. */
	assert_int_equal(span_table_at(t, 0, &i), 0);
	assert_int_equal(i, 0);
	assert_int_equal(span_table_at(t, 3512, &i), 0);
	assert_int_equal(i, 1);
	assert_int_equal(span_table_at(t, 55100, &i), -ENODATA);
}

/* Artifacts and stores of the version before say nothing of windows: they are whole. */
static void reads_the_version_before(void **state)
{
	_cleanup_(span_table_builder_free) struct span_table_builder builder = {0};
	_cleanup_(span_table_free) struct span_table *t = NULL;
	_cleanup_(bytes_free) struct bytes b = {0};
	struct span s = {.size = 4096, .kind = SPAN_GZIP, .packed_size = 40, .window_size = 34, .window_is = SPAN_WINDOW_USED};

	(void)state;
	s.digest.algorithm = DIGEST_SHA256;
	assert_int_equal(span_table_add(&builder, &s), 0);
	assert_int_equal(span_table_finish(&builder, &b), 0);
	memcpy(b.data, "lrspans2", 8);
	assert_int_equal(span_table_load(b.data, b.size, 4096, &t), 0);
	span_table_get(t, 0, &s);
	assert_int_equal(s.window_size, 34);
	assert_int_equal(s.window_is, SPAN_WINDOW_WHOLE);
}

static void an_empty_layer_has_an_empty_table(void **state)
{
	_cleanup_(span_table_builder_free) struct span_table_builder builder = {0};
	_cleanup_(bytes_free) struct bytes b = {0};
	_cleanup_(span_table_free) struct span_table *t = NULL;
	size_t i;

	(void)state;
	assert_int_equal(span_table_finish(&builder, &b), 0);
	assert_int_equal(span_table_load(b.data, b.size, 0, &t), 0);
	assert_int_equal(span_table_at(t, 0, &i), -ENODATA);
}

static void refuses_hostile_tables(void **state)
{
	static const struct {
		size_t off;
		uint8_t size, value[8];
	} cases[] = {
		{0, 1, "x"},
		{8, 8, {N + 1}},
		{8, 8, {N, 0, 0, 0, 0, 0, 0, 0x80}},
		{32, 8, {1}},				 /* does not begin at 0 */
		{32 + 88, 8, {0, 0x10}},		 /* overlaps */
		{32 + 88, 8, {0, 0x30}},		 /* a gap */
		{32 + 8, 8, {0}},			 /* empty */
		{32 + 8, 8, {1, 0x20}},			 /* not at a page */
		{32 + 8, 8, {0, 0, 0, 0, 0, 0, 0, 0xff}}, /* wraps */
		{32 + 16, 8, {0, 0, 0, 0, 0, 0, 0, 0xff}},
		{32 + 24, 8, {1, 0x20}},
		{32 + 24, 8, {0, 0x10}},
		{32 + 52, 1, {6}},			 /* of what passes by, but with a range of its own */
		{32 + 52, 1, {7}},			 /* no such kind */
		{32 + 53, 1, {1}},			 /* bits without a checkpoint */
		{32 + 55, 1, {1}},			 /* what a window is, without one */
		{32 + 54, 1, {3}},
		{32 + 32, 8, {1}},			 /* skips in what is stored */
		{16, 1, {2}},
		{24, 8, {0, 0, 0, 0, 0, 0, 0, 1}},	 /* a tar larger than the layer file */
	};
	struct span_table *t = NULL;

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		_cleanup_(bytes_free) struct bytes b = {0};

		make(&b);
		memcpy(b.data + cases[k].off, cases[k].value, cases[k].size);
		if (span_table_load(b.data, b.size, (N - 1) * 8192 + 4096, &t) != -EBADMSG)
			fail_msg("case %zu is accepted", k);
	}
	_cleanup_(bytes_free) struct bytes b = {0};
	make(&b);
	for (size_t size = 0; size < b.size; size++)
		assert_int_equal(span_table_load(b.data, size, (N - 1) * 8192 + 4096, &t), -EBADMSG);
	assert_int_equal(span_table_load(b.data, b.size, (N - 1) * 8192, &t), -EBADMSG);
	assert_int_equal(span_table_load(b.data, b.size, N * 8192, &t), -EBADMSG);
	assert_int_equal(span_table_load(b.data, b.size, LIMIT_LAYER_FILE_SIZE + 1, &t), -EFBIG);
}

/* SPAN_SIZE: who fills such a span has room for so much. */
static void a_span_that_passes_by_is_a_mebibyte_at_most(void **state)
{
	(void)state;
	for (int above = -1; above <= 1; above++) {
		_cleanup_(span_table_builder_free) struct span_table_builder builder = {0};
		_cleanup_(span_table_free) struct span_table *t = NULL;
		_cleanup_(bytes_free) struct bytes b = {0};
		const uint64_t size = (uint64_t)((int64_t)SPAN_SIZE + above), written = htole64(size);
		struct span s = {.size = SPAN_SIZE, .kind = SPAN_PASSING, .digest = {.algorithm = DIGEST_SHA256}};

		assert_int_equal(span_table_add(&builder, &s), 0);
		assert_int_equal(span_table_finish(&builder, &b), 0);
		memcpy(b.data + 32 + 8, &written, sizeof(written));
		assert_int_equal(span_table_load(b.data, b.size, size, &t), above > 0 ? -EBADMSG : 0);
	}
}

/* A chain of n spans, the first with a window. */
static void make_chain(size_t n, struct bytes *ret)
{
	_cleanup_(span_table_builder_free) struct span_table_builder builder = {0};

	for (size_t i = 0; i < n; i++) {
		const struct span s = {.off = i * 65536, .size = 65536, .kind = SPAN_GZIP, .packed_off = 10 + i * 1000,
				       .packed_size = 1010, .skip = i ? 5 : 0,
				       .window_size = i % SPAN_CHAIN_MAX ? 0 : 9,
				       .window_is = i % SPAN_CHAIN_MAX ? SPAN_WINDOW_BEFORE : SPAN_WINDOW_USED,
				       .digest = {.algorithm = DIGEST_SHA256}};

		assert_int_equal(span_table_add(&builder, &s), 0);
	}
	assert_int_equal(span_table_finish(&builder, ret), 0);
}

/* What is decoded behind another must find there what it needs. */
static void chains_hold_together(void **state)
{
	static const struct {
		size_t span, off;
		uint8_t size, value[8];
	} cases[] = {
		{0, 48, 8, {0, 0, 0, 0, 0, 0, 2}}, /* nothing is before it */
		{1, 48, 4, {9}},		   /* it has a window */
		{1, 40, 8, {1}},
		{1, 32, 8, {0, 0x90}},		   /* it begins before the last 32 KiB of the one before */
		{1, 16, 8, {10}},		   /* it does not follow in the blob */
		{1, 24, 8, {1}},
		{1, 52, 1, {SPAN_ZSTD}},
		{0, 52, 1, {SPAN_ZSTD}},
		{SPAN_CHAIN_MAX - 1, 24, 8, {0, 0, 0, 4}}, /* more packed bytes than one span may have */
		{SPAN_CHAIN_MAX, 48, 8, {0, 0, 0, 0, SPAN_GZIP, 0, 0, 2}}, /* too many */
	};
	_cleanup_(span_table_free) struct span_table *good = NULL;
	_cleanup_(bytes_free) struct bytes b = {0};
	const size_t n = SPAN_CHAIN_MAX + 2;
	struct span_table *t = NULL;
	struct span s;

	(void)state;
	make_chain(n, &b);
	assert_int_equal(span_table_load(b.data, b.size, n * 65536, &good), 0);
	span_table_get(good, 1, &s);
	assert_int_equal(s.window_is, SPAN_WINDOW_BEFORE);
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		_cleanup_(bytes_free) struct bytes wrong = {0};

		make_chain(n, &wrong);
		memcpy(wrong.data + 32 + 88 * cases[k].span + cases[k].off, cases[k].value, cases[k].size);
		if (span_table_load(wrong.data, wrong.size, n * 65536, &t) != -EBADMSG)
			fail_msg("case %zu is accepted", k);
	}
	b.data[16] = 1; /* a foreign table */
	assert_int_equal(span_table_load(b.data, b.size, n * 65536, &t), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_span_of_each_byte),
		cmocka_unit_test(keeps_every_field),
		cmocka_unit_test(reads_the_version_before),
		cmocka_unit_test(an_empty_layer_has_an_empty_table),
		cmocka_unit_test(refuses_hostile_tables),
		cmocka_unit_test(a_span_that_passes_by_is_a_mebibyte_at_most),
		cmocka_unit_test(chains_hold_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
