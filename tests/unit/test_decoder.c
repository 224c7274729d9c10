/* decoder gives back what zlib and libzstd packed, in pieces of any size, and notices every fault. */
#include "base/report.h" /* before cmocka.h, which has a macro fail() */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "format/decoder.h"

#define BIG (250u * 1024)

static char report[REPORT_TEXT_SIZE];
static uint8_t *big;

/* Text that repeats far back, bytes that do not compress, and a long run. */
static void fill(uint8_t *p, size_t size)
{
	uint32_t x = 12345;

	for (size_t i = 0; i < size; i++) {
		x = x * 1664525 + 1013904223;
		if (i % 50000 < 20000)
			p[i] = (uint8_t)(x >> 24);
		else if (i % 50000 < 30000)
			p[i] = 0;
		else
			p[i] = i >= 70000 && x % 19 ? p[i - 29000 - i / 10000 % 3] : (uint8_t)('a' + x % 26);
	}
}

static void pack_gzip(const void *data, size_t size, int level, gz_header *header, struct bytes *to)
{
	size_t room = size + 80000;
	z_stream z = {0};

	assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	if (header)
		assert_int_equal(deflateSetHeader(&z, header), Z_OK);
	assert_int_equal(bytes_reserve(to, room), 0);
	z.next_in = (Bytef *)data;
	z.avail_in = (uInt)size;
	z.next_out = to->data + to->size;
	z.avail_out = (uInt)room;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	to->size += z.total_out;
	deflateEnd(&z);
}

static void pack_zstd(const void *data, size_t size, bool with_size, struct bytes *to)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t room = ZSTD_compressBound(size), n;

	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
	ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, with_size);
	assert_int_equal(bytes_reserve(to, room), 0);
	n = ZSTD_compress2(c, to->data + to->size, room, data, size);
	assert_false(ZSTD_isError(n));
	to->size += n;
	ZSTD_freeCCtx(c);
}

static void add_skippable(const char *text, struct bytes *to)
{
	uint8_t head[8] = {0x57, 0x2a, 0x4d, 0x18, (uint8_t)strlen(text), 0, 0, 0};

	assert_int_equal(bytes_append(to, head, 8), 0);
	assert_int_equal(bytes_append(to, text, strlen(text)), 0);
}

/* Decodes in pieces of at most `in_piece` and `out_piece` bytes, as a caller would. */
static int unpack(enum decoder_kind kind, const struct bytes *packed, size_t in_piece, size_t out_piece,
		  struct bytes *ret)
{
	_cleanup_(decoder_free) struct decoder *d = NULL;
	size_t pos = 0, n_in, n_out;
	int r;

	ret->size = 0;
	assert_int_equal(decoder_new(kind, &d), 0);
	do {
		size_t size = packed->size - pos < in_piece ? packed->size - pos : in_piece;

		assert_int_equal(bytes_reserve(ret, out_piece), 0);
		/* A copy of its own size: reads behind the piece are seen by the address sanitizer. */
		uint8_t *piece = malloc(size ? size : 1);
		if (size)
			memcpy(piece, packed->data + pos, size);
		r = decoder_run(d, piece, size, &n_in, ret->data + ret->size, out_piece, &n_out);
		free(piece);
		if (r < 0) {
			assert_int_equal(decoder_finish(d), -EBADMSG);
			return r;
		}
		assert_true(n_in <= size && n_out <= out_piece);
		assert_true(n_in || n_out || !size);
		pos += n_in;
		ret->size += n_out;
	} while (pos < packed->size || n_out == out_piece);
	return decoder_finish(d);
}

static void expect_plain(enum decoder_kind kind, const struct bytes *packed, const void *plain, size_t size)
{
	static const size_t pieces[][2] = {{1u << 20, 1u << 20}, {1, 1u << 16}, {1u << 16, 11},
					   {1, 1},		 {7, 13},	{5000, 333},
					   {333, 100000},	 {70000, 70000}};
	_cleanup_(bytes_free) struct bytes out = {0};

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		if (pieces[i][1] == 1 && size > 5000)
			continue; /* ISA-L moves its window for each piece */
		assert_int_equal(unpack(kind, packed, pieces[i][0], pieces[i][1], &out), 0);
		assert_int_equal(out.size, size);
		if (size)
			assert_memory_equal(out.data, plain, size);
	}
}

static void expect_error(enum decoder_kind kind, const struct bytes *packed, int error)
{
	_cleanup_(bytes_free) struct bytes out = {0};

	report[0] = '\0';
	assert_int_equal(unpack(kind, packed, 1u << 20, 1u << 20, &out), error);
	assert_true(report[0] != '\0');
	assert_int_equal(unpack(kind, packed, 1, 50, &out), error);
}

static void passes_stored_bytes(void **state)
{
	struct bytes packed = {big, 100000, 100000}, none = {0};

	(void)state;
	expect_plain(DECODER_STORED, &packed, big, packed.size);
	expect_plain(DECODER_STORED, &none, NULL, 0);
}

static void decodes_every_level(void **state)
{
	(void)state;
	for (int level = 0; level <= 9; level += 3) {
		_cleanup_(bytes_free) struct bytes packed = {0};

		pack_gzip(big, BIG, level, NULL, &packed);
		expect_plain(DECODER_GZIP, &packed, big, BIG);
	}
	for (int with_size = 0; with_size < 2; with_size++) {
		_cleanup_(bytes_free) struct bytes packed = {0};

		pack_zstd(big, BIG, with_size, &packed);
		expect_plain(DECODER_ZSTD, &packed, big, BIG);
	}
}

static void joins_members_and_frames(void **state)
{
	_cleanup_(bytes_free) struct bytes gzip = {0}, zstd = {0};
	static const size_t cuts[] = {0, 0, 1, 70000, 70000, 70001, 140000, 140000};

	(void)state;
	add_skippable("", &zstd);
	for (size_t i = 1; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		pack_gzip(big + cuts[i - 1], cuts[i] - cuts[i - 1], 6, NULL, &gzip);
		pack_zstd(big + cuts[i - 1], cuts[i] - cuts[i - 1], i % 2, &zstd);
		add_skippable(i % 2 ? "skip me" : "", &zstd);
	}
	expect_plain(DECODER_GZIP, &gzip, big, 140000);
	expect_plain(DECODER_ZSTD, &zstd, big, 140000);
}

static void reads_long_gzip_headers(void **state)
{
	static Bytef extra[70000], name[5000], comment[3000];
	_cleanup_(bytes_free) struct bytes packed = {0};
	gz_header h = {.text = 1, .time = 99, .os = 3, .extra = extra, .extra_len = 65535, .name = name,
		       .comment = comment, .hcrc = 1};

	(void)state;
	memset(extra, 0x1f, sizeof(extra));
	memset(name, 'n', sizeof(name) - 1);
	memset(comment, 'c', sizeof(comment) - 1);
	for (int i = 0; i < 16; i++) {
		h.extra = i & 1 ? extra : NULL;
		h.name = i & 2 ? name : NULL;
		h.comment = i & 4 ? comment : NULL;
		h.hcrc = i >> 3;
		pack_gzip(big + 100 * i, 100, 6, &h, &packed);
	}
	expect_plain(DECODER_GZIP, &packed, big, 1600);
	packed.data[1] = 0; /* the magic */
	expect_error(DECODER_GZIP, &packed, -EBADMSG);
}

static void allows_only_zeros_behind_gzip(void **state)
{
	_cleanup_(bytes_free) struct bytes packed = {0};
	static const uint8_t zeros[2000];
	size_t size;

	(void)state;
	pack_gzip(big, 1000, 6, NULL, &packed);
	size = packed.size;
	bytes_append(&packed, zeros, sizeof(zeros));
	expect_plain(DECODER_GZIP, &packed, big, 1000);
	packed.data[packed.size - 1] = 0x1f;
	expect_error(DECODER_GZIP, &packed, -EBADMSG);
	packed.data[size] = 'g';
	packed.size = size + 1;
	expect_error(DECODER_GZIP, &packed, -EBADMSG);
	packed.data[size] = 0x1f; /* a member that stops at once */
	expect_error(DECODER_GZIP, &packed, -EBADMSG);
	packed.size = 0;
	expect_error(DECODER_GZIP, &packed, -EBADMSG);
	bytes_append(&packed, zeros, 10);
	expect_error(DECODER_GZIP, &packed, -EBADMSG);
}

static void refuses_what_zstd_cannot_promise(void **state)
{
	static const struct {
		uint8_t data[20];
		size_t size;
		int error;
	} cases[] = {
		{{0}, 0, -EBADMSG},
		{{0x28, 0xb5, 0x2f}, 3, -EBADMSG},
		{{0x28, 0xb5, 0x2f, 0xfd, 0, (28 - 10) << 3, 1, 0, 0, 0}, 10, -EFBIG}, /* window of 2^28 */
		{{0x28, 0xb5, 0x2f, 0xfd, 0, (27 - 10) << 3 | 1, 1, 0, 0, 0}, 10, -EFBIG},
		{{0x27, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0, 0, 0}, 10, -EBADMSG}, /* version 0.7 */
		{{0x28, 0xb5, 0x2f, 0xfd, 1, 0x50, 7, 1, 0, 0, 0}, 11, -EOPNOTSUPP}, /* dictionary 7 */
		{{0x28, 0xb5, 0x2f, 0xfd, 0, 0x50, 1, 0, 0, 'g'}, 10, -EBADMSG}, /* garbage behind */
	};
	_cleanup_(bytes_free) struct bytes out = {0};
	struct bytes window = {(uint8_t *)"\x28\xb5\x2f\xfd\0\x88\1\0\0", 9, 9}; /* 2^27 is allowed */

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bytes packed = {(uint8_t *)cases[i].data, cases[i].size, cases[i].size};

		report[0] = '\0';
		assert_int_equal(unpack(DECODER_ZSTD, &packed, 100, 100, &out), cases[i].error);
		assert_int_equal(unpack(DECODER_ZSTD, &packed, 1, 100, &out), cases[i].error);
	}
	assert_int_equal(unpack(DECODER_ZSTD, &window, 100, 100, &out), 0);
}

/* Every cut of a small stream is noticed, except where a member or frame ends. */
static void notices_every_cut(void **state)
{
	(void)state;
	for (int kind = DECODER_GZIP; kind <= DECODER_ZSTD; kind++) {
		_cleanup_(bytes_free) struct bytes packed = {0}, out = {0};
		size_t edge;

		for (int i = 0; i < 2; i++) {
			edge = packed.size;
			if (kind == DECODER_GZIP)
				pack_gzip(big + 30000 - 100, 1000, 6, NULL, &packed);
			else
				pack_zstd(big + 30000 - 100, 1000, i, &packed);
		}
		for (size_t cut = 0; cut < packed.size; cut++) {
			struct bytes part = {packed.data, cut, cut};

			report[0] = '\0';
			assert_int_equal(unpack(kind, &part, 1u << 20, 1u << 20, &out),
					 cut == edge && cut ? 0 : -EBADMSG);
			assert_int_equal(unpack(kind, &part, 9, 33, &out),
					 cut == edge && cut ? 0 : -EBADMSG);
		}
	}
}

/* A changed byte is noticed, or changes nothing (a gzip header's time and system). */
static void notices_every_changed_byte(void **state)
{
	static const uint8_t masks[] = {0xff, 1, 0x80};

	(void)state;
	for (int kind = DECODER_GZIP; kind <= DECODER_ZSTD; kind++) {
		_cleanup_(bytes_free) struct bytes packed = {0}, out = {0};
		size_t quiet = 0;

		if (kind == DECODER_GZIP)
			pack_gzip(big + 30000 - 100, 1000, 6, NULL, &packed);
		else
			pack_zstd(big + 30000 - 100, 1000, true, &packed);
		for (size_t i = 0; i < packed.size * 3; i++) {
			report[0] = '\0';
			packed.data[i / 3] ^= masks[i % 3];
			if (unpack(kind, &packed, 1u << 20, 1u << 20, &out) == 0) {
				assert_int_equal(out.size, 1000);
				assert_memory_equal(out.data, big + 30000 - 100, 1000);
				quiet++;
			}
			packed.data[i / 3] ^= masks[i % 3];
		}
		assert_true(quiet <= 6 * 3 + 10);
	}
}

static void sniffs_by_magic(void **state)
{
	(void)state;
	assert_int_equal(decoder_sniff("\x1f\x8b\x08\0", 4), DECODER_GZIP);
	assert_int_equal(decoder_sniff("\x1f\x8b\x08", 3), DECODER_STORED);
	assert_int_equal(decoder_sniff("\x28\xb5\x2f\xfd", 4), DECODER_ZSTD);
	assert_int_equal(decoder_sniff("\x5f\x2a\x4d\x18", 4), DECODER_ZSTD);
	assert_int_equal(decoder_sniff("\x60\x2a\x4d\x18", 4), DECODER_STORED);
	assert_int_equal(decoder_sniff("etc/", 4), DECODER_STORED);
	assert_int_equal(decoder_sniff("", 0), DECODER_STORED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passes_stored_bytes),
		cmocka_unit_test(decodes_every_level),
		cmocka_unit_test(joins_members_and_frames),
		cmocka_unit_test(reads_long_gzip_headers),
		cmocka_unit_test(allows_only_zeros_behind_gzip),
		cmocka_unit_test(refuses_what_zstd_cannot_promise),
		cmocka_unit_test(notices_every_cut),
		cmocka_unit_test(notices_every_changed_byte),
		cmocka_unit_test(sniffs_by_magic),
	};
	int r;

	big = malloc(BIG);
	if (!big)
		return 1;
	fill(big, BIG);
	report_capture(report);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	free(big);
	return r;
}
