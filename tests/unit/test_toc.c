/* A layer's own table of contents: found by annotation and footer, read entry by entry, made into index and spans. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_object.h>

#include "base/base64.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h" /* before cmocka.h, which makes fail() a macro */
#include "base/rfc3339.h"
#include "format/span_table.h"
#include "format/toc.h"
#include "format/toc_layer.h"
#include "format/toc_place.h"
#include "format/toc_write.h"

#include <cmocka.h>

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define TABLE(entries) "{\"version\":1,\"entries\":[" entries "]}"

static char text[REPORT_TEXT_SIZE];

static void reads_times(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds;
		uint32_t nsec;
	} right[] = {
		{"1970-01-01T00:00:00Z", 0, 0},
		{"2024-02-29T12:00:00.5+01:30", 1709202600, 500000000},
		{"1969-12-31T23:59:59.123456789123Z", -1, 123456789},
		{"0001-01-01T00:00:00Z", -62135596800, 0},
	};
	static const char *const wrong[] = {"", "1970-01-01", "1970-01-01T00:00:00", "1970-13-01T00:00:00Z",
					    "1970-01-01T00:00:00Zx", "+970-01-01T00:00:00Z", "1970-01-01t00:00:00z"};
	int64_t seconds;
	uint32_t nsec;

	(void)state;
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		assert_int_equal(rfc3339_parse(right[i].text, strlen(right[i].text), &seconds, &nsec), 0);
		assert_int_equal(seconds, right[i].seconds);
		assert_int_equal(nsec, right[i].nsec);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(rfc3339_parse(wrong[i], strlen(wrong[i]), &seconds, &nsec), -EBADMSG);
}

static void reads_base64(void **state)
{
	uint8_t out[BASE64_PLAIN_SIZE(8)];
	size_t n;

	(void)state;
	assert_int_equal(base64_decode("AAECAw==", 8, out, &n), 0);
	assert_int_equal(n, 4);
	assert_memory_equal(out, "\0\1\2\3", 4);
	assert_int_equal(base64_decode("_-8", 3, out, &n), 0);
	assert_int_equal(n, 2);
	assert_memory_equal(out, "\xff\xef", 2);
	assert_int_equal(base64_decode("", 0, out, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(base64_decode("A", 1, out, &n), -EBADMSG);
	assert_int_equal(base64_decode("A A=", 4, out, &n), -EBADMSG);
}

static void writes_base64_and_crcs(void **state)
{
	static const char *const texts[] = {"", "AA==", "AAE=", "AAEC", "AAEC/w=="};
	char written[BASE64_TEXT_SIZE(4)];

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		base64_encode("\0\1\2\xff", i, written);
		assert_string_equal(written, texts[i]);
	}
	/* The check value of CRC-64/GO-ISO in the catalogue of parametrised CRC algorithms. */
	assert_true(toc_write_crc64(0, (const uint8_t *)"123456789", 9) == UINT64_C(0xb90956c775a41001));
	assert_true(toc_write_crc64(toc_write_crc64(0, (const uint8_t *)"1234", 4), (const uint8_t *)"56789", 5) ==
		    UINT64_C(0xb90956c775a41001));
}

static void says_what_an_entry_says(void **state)
{
	static const char table[] =
		"{\"tarSplitDigest\":\"x\\\"]\", \"version\":1,\"entries\": [ "
		"{\"name\":\"d/\",\"type\":\"dir\",\"mode\":16877,\"uid\":7,\"gid\":4294967295,"
		"\"modtime\":\"1970-01-01T00:00:01Z\",\"xattrs\":{\"user.a\":\"YWI=\"}},\n"
		"{\"name\":\"d/f\",\"type\":\"reg\",\"size\":9,\"digest\":\"sha256:" A64 "\",\"offset\":77,"
		"\"endOffset\":99,\"chunkSize\":5,\"chunkDigest\":\"sha256:" B64 "\",\"innerOffset\":3},"
		"{\"type\":\"chunk\",\"chunkOffset\":5,\"chunkType\":\"zeros\"},"
		"{\"name\":\"./.prefetch.landmark\",\"type\":\"reg\"},"
		"{\"name\":\"dev\",\"type\":\"char\",\"devMajor\":1,\"devMinor\":3}, "
		"{\"name\":\"s\",\"type\":\"symlink\",\"linkName\":\"x\",\"size\":1}] , \"z\":[{}] }";
	_cleanup_(toc_free) struct toc *t = NULL;
	struct toc_entry e;

	(void)state;
	assert_int_equal(toc_open(table, sizeof(table) - 1, &t), 0);
	assert_int_equal(toc_next(t, &e), 1);
	assert_int_equal(e.member.type, TAR_DIRECTORY);
	assert_int_equal(e.member.mode, 0755);
	assert_int_equal(e.member.gid, 4294967295u);
	assert_int_equal(e.member.mtime, 1);
	assert_int_equal(e.member.n_xattrs, 1);
	assert_string_equal(e.member.xattrs[0].name, "user.a");
	assert_memory_equal(e.member.xattrs[0].value, "ab", 2);
	assert_int_equal(toc_next(t, &e), 1);
	assert_int_equal(e.member.size, 9);
	assert_int_equal(e.chunk.size, 5);
	assert_int_equal(e.chunk.packed_off, 77);
	assert_int_equal(e.chunk.skip, 3);
	assert_int_equal(e.packed_end, 99);
	assert_int_equal(e.chunk.digest.bytes[0], 0xbb);
	assert_int_equal(e.digest.bytes[0], 0xaa);
	assert_int_equal(toc_next(t, &e), 1);
	assert_true(e.is_chunk && e.chunk.zeros);
	assert_int_equal(toc_next(t, &e), 1);
	assert_true(e.is_hidden);
	assert_int_equal(toc_next(t, &e), 1);
	assert_int_equal(e.member.minor, 3);
	assert_int_equal(toc_next(t, &e), 1);
	assert_string_equal(e.member.link, "x");
	assert_int_equal(e.member.size, 0);
	assert_int_equal(toc_next(t, &e), 0);
	assert_int_equal(toc_next(t, &e), 0);
}

static int read_all(const char *table)
{
	_cleanup_(toc_free) struct toc *t = NULL;
	struct toc_entry e;
	int r;

	text[0] = '\0';
	report_capture(text);
	r = toc_open(table, strlen(table), &t);
	while (r == 0 && (r = toc_next(t, &e)) > 0)
		r = 0;
	report_capture(NULL);
	return r;
}

static void refuses_what_is_no_table(void **state)
{
	static const struct {
		const char *table;
		int r;
	} cases[] = {
		{TABLE(""), 0},
		{" { \"entries\":[],\"version\":1} \n", 0},
		{"", -EBADMSG},
		{"[]", -EBADMSG},
		{"{}", -EBADMSG},
		{"{\"version\":1}", -EBADMSG},
		{"{\"entries\":[]}", -EBADMSG},
		{"{\"version\":2,\"entries\":[]}", -EOPNOTSUPP},
		{"{\"version\":1,\"entries\":[],\"entries\":[]}", -EBADMSG},
		{"{\"version\":1,\"entries\":{}}", -EBADMSG},
		{TABLE("") "x", -EBADMSG},
		{"{\"version\":1,\"entries\":[}]}", -EBADMSG},
		{"{\"version\":1,\"entries\":[{\"name\":\"a\",\"type\":\"reg\"]]}", -EBADMSG},
		{"{\"version\":1,\"entries\":[\"\\", -EBADMSG},
		{TABLE("{\"name\":\"a\",\"type\":\"reg\"}{}"), -EBADMSG},
		{TABLE("1"), -EBADMSG},
		{TABLE("{\"name\":\"a\",\"type\":\"reg\"},"), -EBADMSG},
		{TABLE("{\"name\":\"\",\"type\":\"reg\"}"), -EBADMSG},
		{TABLE("{\"name\":\"a\",\"type\":\"reg\",\"size\":-1}"), -EBADMSG},
		{TABLE("{\"name\":\"a\",\"type\":\"reg\",\"uid\":4294967296}"), -EBADMSG},
		{TABLE("{\"name\":\"a\",\"type\":\"reg\",\"modtime\":\"now\"}"), -EBADMSG},
		{TABLE("{\"name\":\"a\",\"type\":\"reg\",\"xattrs\":{\"a\":\"*\"}}"), -EBADMSG},
		{TABLE("{\"name\":\"a\",\"type\":\"reg\",\"chunkType\":\"holes\"}"), -EOPNOTSUPP},
		{TABLE("{\"name\":\"a\",\"type\":\"reg\",\"digest\":\"md5:1\"}"), -EOPNOTSUPP},
		{TABLE("{\"name\":\"a\\u0000b\",\"type\":\"reg\"}"), -EBADMSG},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int r = read_all(cases[i].table);

		if (r != cases[i].r)
			fail_msg("%s: %d, not %d (%s)", cases[i].table, r, cases[i].r, text);
		assert_true(r == 0 || text[0]);
	}
}

/* LIMIT_TOC_SIZE: spaces cost a table nothing but its size */
static void a_table_has_a_limit(void **state)
{
	static const char head[] = "{\"version\":1,\"entries\":[]";
	_cleanup_(fd_free_memory) char *table = malloc((size_t)LIMIT_TOC_SIZE + 1);

	(void)state;
	assert_non_null(table);
	memset(table, ' ', (size_t)LIMIT_TOC_SIZE + 1);
	memcpy(table, head, sizeof(head) - 1);
	for (int above = -1; above <= 1; above++) {
		size_t size = (size_t)((int)LIMIT_TOC_SIZE + above);
		struct toc *t = NULL;

		table[size - 1] = '}';
		report_capture(text);
		assert_int_equal(toc_open(table, size, &t), above > 0 ? -EFBIG : 0);
		report_capture(NULL);
		toc_free(&t);
		table[size - 1] = ' ';
	}
}

/* LIMIT_TOC_ENTRY_SIZE */
static void an_entry_may_be_so_long(void **state)
{
	static const char head[] = "{\"version\":1,\"entries\":[{\"name\":\"a\",\"type\":\"reg\"", tail[] = "}]}";
	const size_t braces = sizeof("{\"version\":1,\"entries\":[") - 1;
	static char table[LIMIT_TOC_ENTRY_SIZE + 256];

	(void)state;
	for (size_t above = 0; above <= 1; above++) {
		size_t spaces = LIMIT_TOC_ENTRY_SIZE + above - (sizeof(head) - 1 - braces) - 1;

		memcpy(table, head, sizeof(head) - 1);
		memset(table + sizeof(head) - 1, ' ', spaces);
		memcpy(table + sizeof(head) - 1 + spaces, tail, sizeof(tail));
		assert_int_equal(read_all(table), above ? -EFBIG : 0);
	}
}

static struct bytes spans;
static uint64_t bodies;

static int build(const char *table, uint64_t blob_size)
{
	_cleanup_(layer_builder_free) struct layer_builder *b = NULL;
	int r;

	bytes_free(&spans);
	assert_int_equal(layer_builder_new(&b), 0);
	text[0] = '\0';
	report_capture(text);
	r = toc_layer_build(TOC_ZSTD_CHUNKED, table, strlen(table), blob_size, b, &spans, &bodies);
	report_capture(NULL);
	return r;
}

#define FILE_OF(name, size, off) \
	"{\"name\":\"" name "\",\"type\":\"reg\",\"size\":" size ",\"offset\":" off ",\"digest\":\"sha256:" A64 "\"}"

static void lays_bodies_out(void **state)
{
	static const char table[] =
		TABLE(FILE_OF("a", "100", "10") "," FILE_OF("b", "600", "50") "," FILE_OF("c", "5000", "90") "," FILE_OF(
			"d", "4000", "200") "," FILE_OF("e", "96", "300") ","
		      "{\"name\":\"f\",\"type\":\"reg\",\"size\":10000,\"offset\":400,\"endOffset\":700,\"chunkSize\":3000,"
		      "\"chunkDigest\":\"sha256:" B64 "\"},"
		      "{\"type\":\"chunk\",\"chunkOffset\":3000,\"chunkSize\":5000,\"chunkType\":\"zeros\"},"
		      "{\"type\":\"chunk\",\"chunkOffset\":8000,\"offset\":650,\"chunkDigest\":\"sha256:" B64 "\"}");
	static const struct {
		uint64_t off, size, packed_off, packed_size;
	} want[] = {{0, 100, 10, 40},	      {512, 600, 50, 40},	{4096, 5000, 90, 110},	 {12288, 4000, 200, 100},
		    {16384, 96, 300, 100}, {20480, 3000, 400, 250}, {28480, 2000, 650, 50}};
	_cleanup_(span_table_free) struct span_table *t = NULL;

	(void)state;
	assert_int_equal(build(table, 1000), 0);
	assert_int_equal(bodies, 32768);
	assert_int_equal(span_table_load(spans.data, spans.size, bodies, &t), 0);
	assert_true(span_table_is_foreign(t));
	assert_int_equal(span_table_count(t), sizeof(want) / sizeof(want[0]));
	for (size_t i = 0; i < span_table_count(t); i++) {
		struct span s;

		span_table_get(t, i, &s);
		assert_int_equal(s.off, want[i].off);
		assert_int_equal(s.size, want[i].size);
		assert_int_equal(s.packed_off, want[i].packed_off);
		assert_int_equal(s.packed_size, want[i].packed_size);
		assert_int_equal(s.kind, SPAN_ZSTD);
		assert_int_equal(s.digest.bytes[0], i < 5 ? 0xaa : 0xbb);
	}
}

static void refuses_chunks_that_do_not_fit(void **state)
{
	static const struct {
		const char *table, *why;
	} cases[] = {
		{TABLE("{\"type\":\"chunk\",\"chunkSize\":1}"), "overlap"},
		{TABLE(FILE_OF("a", "10", "5") ",{\"type\":\"chunk\",\"chunkOffset\":10,\"chunkSize\":1}"), "overlap"},
		{TABLE("{\"name\":\"a\",\"type\":\"reg\",\"size\":10,\"chunkSize\":5,\"chunkDigest\":\"sha256:" A64 "\"}"),
		 "ends before"},
		{TABLE("{\"name\":\"a\",\"type\":\"reg\",\"size\":10,\"chunkSize\":11}"), "pass its end"},
		{TABLE("{\"name\":\"a\",\"type\":\"reg\",\"size\":10,\"chunkOffset\":1}"), "gap"},
		{TABLE("{\"name\":\"a\",\"type\":\"reg\",\"size\":10}"), "without a digest"},
		{TABLE(FILE_OF("a", "10", "1000")), "behind the layer's end"},
		{TABLE(FILE_OF("a", "100000000", "10")), "at most"},
		{TABLE(FILE_OF("../a", "10", "10")), ".."},
		{TABLE("{\"name\":\"a\",\"type\":\"char\"}"), "0:0"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (build(cases[i].table, 1000) >= 0 || !strstr(text, cases[i].why))
			fail_msg("%s: %s", cases[i].table, text);
	}
	bytes_free(&spans);
}

static void find_place(const char *annotations, enum media_type type, struct toc_place *ret)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	char descriptor[1024];

	snprintf(descriptor, sizeof(descriptor), "{\"annotations\":{%s}}", annotations);
	assert_int_equal(json_field_parse(descriptor, strlen(descriptor), &o), 0);
	toc_place_find(o, type, ret);
}

#define STARGZ "\"containerd.io/snapshot/stargz/toc.digest\":\"sha256:" A64 "\""
#define GITHUB(what, value) "\"io.github.containers.zstd-chunked." what "\":\"" value "\""
#define OLD(what, value) "\"io.containers.zstd-chunked." what "\":\"" value "\""

static void annotations_say_where_it_is(void **state)
{
	struct toc_place p;

	(void)state;
	find_place("", MEDIA_LAYER_TAR_GZIP, &p);
	assert_int_equal(p.kind, TOC_NONE);
	find_place(STARGZ, MEDIA_LAYER_TAR_GZIP, &p);
	assert_int_equal(p.kind, TOC_ESTARGZ);
	assert_int_equal(p.plain.bytes[0], 0xaa);
	assert_int_equal(p.packed_size, 0);
	find_place(STARGZ, MEDIA_LAYER_TAR, &p);
	assert_int_equal(p.kind, TOC_NONE);
	find_place(GITHUB("manifest-checksum", "sha256:" B64) "," GITHUB("manifest-position", "7:8:9:1"),
		   MEDIA_LAYER_TAR_ZSTD, &p);
	assert_int_equal(p.kind, TOC_ZSTD_CHUNKED);
	assert_int_equal(p.packed.bytes[0], 0xbb);
	assert_int_equal(p.plain.algorithm, DIGEST_NONE);
	assert_int_equal(p.off, 7);
	assert_int_equal(p.packed_size, 8);
	assert_int_equal(p.plain_size, 9);
	find_place(OLD("manifest-checksum", "sha256:" B64) "," STARGZ, MEDIA_LAYER_TAR_ZSTD, &p);
	assert_int_equal(p.kind, TOC_ZSTD_CHUNKED);
	assert_int_equal(p.plain.bytes[0], 0xaa);
	assert_int_equal(p.packed_size, 0); /* the footer will say */
	find_place(GITHUB("manifest-position", "7:8:9:1"), MEDIA_LAYER_TAR_ZSTD, &p);
	assert_int_equal(p.kind, TOC_NONE); /* nothing vouches for it */
	find_place(GITHUB("manifest-checksum", "md5:1"), MEDIA_LAYER_TAR_ZSTD, &p);
	assert_int_equal(p.kind, TOC_NONE);
	for (size_t i = 0; i < 6; i++) {
		static const char *const positions[] = {"7:8:9:2", "7:8:9", "7:8:9:1:", "-7:8:9:1", "7:0:9:1",
							"7:8:99999999999:1"};
		char both[512];

		snprintf(both, sizeof(both), "%s,\"io.containers.zstd-chunked.manifest-position\":\"%s\"",
			 OLD("manifest-checksum", "sha256:" B64), positions[i]);
		find_place(both, MEDIA_LAYER_TAR_ZSTD, &p);
		assert_int_equal(p.packed_size, 0);
	}
}

static void footers_say_where_it_is(void **state)
{
	static const char now[] = "\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0"
				  "00000000000000ffSTARGZ\1\0\0\xff\xff\0\0\0\0\0\0\0";
	static const char before[] = "\x1f\x8b\x08\x04\0\0\0\0\0\xff\x16\0"
				     "00000000000000ffSTARGZ\1\0\0\xff\xff\0\0\0\0\0\0\0";
	static const char external[] = "\x1f\x8b\x08\x04\0\0\0\0\0\xff\x15\0SG\x11\0"
				       "STARGZEXTERNALTOC\1\0\0\xff\xff\0\0\0\0\0\0\0";
	static const char containers[] = "\x50\x2a\x4d\x18\x40\0\0\0"
					 "\x10\0\0\0\0\0\0\0\x20\0\0\0\0\0\0\0\x30\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"
					 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0GNUlInUx";
	static const char stargz[] = "\x50\x2a\x4d\x18\x28\0\0\0"
				     "\x10\0\0\0\0\0\0\0\x20\0\0\0\0\0\0\0\x30\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0GnUlInUx";
	struct toc_place p = {.kind = TOC_ESTARGZ};
	bool elsewhere;

	(void)state;
	assert_int_equal(sizeof(now), 51);
	assert_int_equal(toc_place_footer(&p, now, 51, 1000, &elsewhere), 0);
	assert_int_equal(p.off, 255);
	assert_int_equal(p.packed_size, 1000 - 51 - 255);
	assert_int_equal(toc_place_footer(&p, before, 47, 1000, &elsewhere), 0);
	assert_int_equal(p.packed_size, 1000 - 47 - 255);
	assert_false(elsewhere);
	assert_int_equal(toc_place_footer(&p, now, 51, 300, &elsewhere), -EBADMSG);
	assert_int_equal(toc_place_footer(&p, external, 46, 1000, &elsewhere), 0);
	assert_true(elsewhere);
	assert_int_equal(toc_place_footer(&p, external, 45, 1000, &elsewhere), -ENOENT);
	p.kind = TOC_ZSTD_CHUNKED;
	assert_int_equal(toc_place_footer(&p, containers, 72, 1000, &elsewhere), 0);
	assert_int_equal(p.off, 16);
	assert_int_equal(p.packed_size, 32);
	assert_int_equal(p.plain_size, 48);
	assert_int_equal(toc_place_footer(&p, stargz, 48, 1000, &elsewhere), 0);
	assert_int_equal(toc_place_footer(&p, stargz, 48, 48, &elsewhere), 0);
	assert_int_equal(toc_place_footer(&p, stargz, 48, 47, &elsewhere), -EBADMSG);
	assert_int_equal(toc_place_footer(&p, now, 51, 1000, &elsewhere), -ENOENT);
	assert_int_equal(toc_place_footer(&p, "", 0, 1000, &elsewhere), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_has_a_limit),
		cmocka_unit_test(reads_times),
		cmocka_unit_test(reads_base64),
		cmocka_unit_test(writes_base64_and_crcs),
		cmocka_unit_test(says_what_an_entry_says),
		cmocka_unit_test(refuses_what_is_no_table),
		cmocka_unit_test(an_entry_may_be_so_long),
		cmocka_unit_test(lays_bodies_out),
		cmocka_unit_test(refuses_chunks_that_do_not_fit),
		cmocka_unit_test(annotations_say_where_it_is),
		cmocka_unit_test(footers_say_where_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
