/* tar tells the members of every dialect alike, in pieces of any size, and refuses what lies. */
#include "base/report.h" /* before cmocka.h, which has a macro fail() */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/limits.h"
#include "format/tar.h"

static char report[REPORT_TEXT_SIZE];

/* ---- a small tar writer ---- */

static struct bytes s; /* the stream that a test writes */

static void put(size_t at, const void *data, size_t size)
{
	memcpy(s.data + s.size - 512 + at, data, size);
}

/* Counts the last block's checksum, over signed bytes if asked. */
static void seal_as(bool as_signed)
{
	uint8_t *b = s.data + s.size - 512;
	int sum = 8 * ' ';
	char text[8];

	for (size_t i = 0; i < 512; i++)
		sum += i >= 148 && i < 156 ? 0 : as_signed ? (int8_t)b[i] : b[i];
	snprintf(text, sizeof(text), "%06o", (unsigned)sum & 0777777);
	text[7] = ' ';
	memcpy(b + 148, text, 8);
}

static void edit(size_t at, const void *data, size_t size)
{
	put(at, data, size);
	seal_as(false);
}

static void header(char type, const char *name, uint64_t size)
{
	static const uint8_t zeros[512];
	char text[16];

	assert_int_equal(bytes_append(&s, zeros, 512), 0);
	put(0, name, strlen(name));
	put(100, "0000644", 8);
	put(108, "0001750", 8);
	put(116, "0000144", 8);
	snprintf(text, sizeof(text), "%011" PRIo64, size);
	put(124, text, 12);
	put(136, "00000000012", 12);
	put(156, &type, 1);
	put(257, "ustar\0" "00", 8);
	seal_as(false);
}

static void gnu_header(char type, const char *name, uint64_t size)
{
	header(type, name, size);
	edit(257, "ustar  ", 8);
}

static void body(const void *data, size_t size)
{
	static const uint8_t zeros[512];

	assert_int_equal(bytes_append(&s, data, size), 0);
	assert_int_equal(bytes_append(&s, zeros, -size & 511), 0);
}

static void text_body(const char *text)
{
	body(text, strlen(text));
}

static void end(void)
{
	static const uint8_t zeros[1024];

	assert_int_equal(bytes_append(&s, zeros, 1024), 0);
}

/* "LENGTH KEY=VALUE\n", the length counting itself. */
static void record(struct bytes *to, const char *key, const void *value, size_t size)
{
	size_t rest = strlen(key) + size + 3, n = rest + 1;

	while (n != rest + (size_t)snprintf(NULL, 0, "%zu", n))
		n++;
	assert_int_equal(bytes_printf(to, "%zu %s=", n, key), 0);
	assert_int_equal(bytes_append(to, value, size), 0);
	assert_int_equal(bytes_append(to, "\n", 1), 0);
}

/* A pax header of "key", "value" pairs up to NULL. */
static void pax(char type, const char *key, ...)
{
	_cleanup_(bytes_free) struct bytes records = {0};
	va_list args;

	va_start(args, key);
	for (; key; key = va_arg(args, const char *)) {
		const char *value = va_arg(args, const char *);

		record(&records, key, value, strlen(value));
	}
	va_end(args);
	header(type, "PaxHeaders/x", records.size);
	body(records.data, records.size);
}

static void raw_pax(const char *records, size_t size)
{
	header('x', "PaxHeaders/x", size);
	body(records, size);
}

/* ---- reading it back ---- */

static void note(struct bytes *to, const struct tar_member *m)
{
	bytes_printf(to, "%d %s", m->type, m->path);
	if (m->link[0])
		bytes_printf(to, " -> %s", m->link);
	bytes_printf(to, " %o %u:%u t%" PRId64 ".%09u s%" PRIu64, m->mode, m->uid, m->gid, m->mtime, m->mtime_nsec,
		     m->size);
	if (m->type == TAR_CHARACTER_DEVICE || m->type == TAR_BLOCK_DEVICE)
		bytes_printf(to, " d%u,%u", m->major, m->minor);
	if (m->type == TAR_FILE && !m->sparse)
		bytes_printf(to, " @%" PRIu64, m->body_off);
	if (m->sparse)
		bytes_printf(to, " sparse");
	for (size_t i = 0; i < m->n_fragments; i++)
		bytes_printf(to, " %" PRIu64 "+%" PRIu64 "@%" PRIu64, m->fragments[i].off, m->fragments[i].size,
			     m->fragments[i].body_off);
	for (size_t i = 0; i < m->n_xattrs; i++)
		bytes_printf(to, " %s=%.*s", m->xattrs[i].name, (int)m->xattrs[i].value_size,
			     (const char *)m->xattrs[i].value);
	bytes_printf(to, "\n");
}

static int walk(size_t piece, struct bytes *to)
{
	struct tar *t = NULL;
	struct tar_member m;
	size_t pos = 0, used;
	int r = 0;

	to->size = 0;
	assert_int_equal(tar_new(&t), 0);
	while (r >= 0 && pos < s.size) {
		size_t n = s.size - pos < piece ? s.size - pos : piece;

		r = tar_next(t, s.data + pos, n, &used, &m);
		if (r < 0)
			break;
		if (r)
			note(to, &m);
		else
			assert_int_equal(used, n);
		pos += used;
	}
	if (r >= 0) {
		r = tar_finish(t);
	} else {
		assert_int_equal(tar_next(t, "x", 1, &used, &m), -EBADMSG);
		assert_int_equal(tar_finish(t), -EBADMSG);
	}
	tar_free(&t);
	bytes_terminate(to);
	return r;
}

/* The stream says `want`, whatever the pieces; then it is emptied. */
static void expect(const char *want)
{
	static const size_t pieces[] = {1u << 30, 1, 100, 512, 513, 5000};
	_cleanup_(bytes_free) struct bytes got = {0};

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		report[0] = '\0';
		assert_int_equal(walk(pieces[i], &got), 0);
		assert_string_equal((char *)got.data, want);
		assert_string_equal(report, "");
	}
	s.size = 0;
}

static void expect_error(int error)
{
	_cleanup_(bytes_free) struct bytes got = {0};

	report[0] = '\0';
	assert_int_equal(walk(1u << 30, &got), error);
	assert_true(report[0] != '\0');
	assert_int_equal(walk(7, &got), error);
	s.size = 0;
}

/* A test that failed leaves its stream behind. */
static int forget(void **state)
{
	(void)state;
	s.size = 0;
	return 0;
}

/* ---- the tests ---- */

static void tells_every_type(void **state)
{
	(void)state;
	header('5', "dir/", 0);
	header('0', "dir/file", 600);
	for (int i = 0; i < 20; i++)
		bytes_append(&s, "................................................................", 30);
	bytes_append(&s, (uint8_t[424]){0}, 424);
	header('1', "dir/hard", 77); /* no body, whatever the size says */
	put(157, "dir/file", 8);
	seal_as(false);
	header('2', "sym", 5);
	edit(157, "../t", 4);
	header('3', "char", 9);
	put(329, "0000005", 8);
	edit(337, "0000001", 8);
	header('4', "block", 9);
	put(329, "0007777", 8);
	edit(337, "3777777", 8);
	header('6', "fifo", 9);
	header('7', "contiguous", 1);
	text_body("c");
	header('D', "dumpdir/", 3);
	text_body("Yx");
	header('V', "label", 0);
	header('0', "empty", 0);
	end();
	bytes_append(&s, "garbage behind the end", 22);
	expect("5 dir/ 644 1000:100 t10.000000000 s0\n"
	       "0 dir/file 644 1000:100 t10.000000000 s600 @1024\n"
	       "1 dir/hard -> dir/file 644 1000:100 t10.000000000 s0\n"
	       "2 sym -> ../t 644 1000:100 t10.000000000 s0\n"
	       "3 char 644 1000:100 t10.000000000 s0 d5,1\n"
	       "4 block 644 1000:100 t10.000000000 s0 d4095,1048575\n"
	       "6 fifo 644 1000:100 t10.000000000 s0\n"
	       "0 contiguous 644 1000:100 t10.000000000 s1 @5120\n"
	       "5 dumpdir/ 644 1000:100 t10.000000000 s0\n"
	       "0 empty 644 1000:100 t10.000000000 s0 @7680\n");
}

#define TEN "nnnnnnnnnn"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static void reads_old_headers(void **state)
{
	(void)state;
	header('\0', "v7/", 8);
	edit(257, "\0\0\0\0\0\0\0\0", 8);
	header('\0', "v7/file", 0);
	put(345, "prefix", 6); /* not in v7 */
	edit(257, "\0\0\0\0\0\0\0\0", 8);
	header('0', HUNDRED, 0); /* no room for a NUL */
	edit(345, "pre/fix", 7);
	gnu_header('0', "gnu", 0);
	edit(345, "00000000000", 12); /* a time, not a prefix */
	header('0', "star", 0);
	put(476, "00000000000", 12);
	put(508, "tar", 4);
	edit(345, "p", 1);
	header('0', "\303\244", 0);
	seal_as(true);
	expect("5 v7/ 644 1000:100 t10.000000000 s0\n"
	       "0 v7/file 644 1000:100 t10.000000000 s0 @1024\n"
	       "0 pre/fix/" HUNDRED " 644 1000:100 t10.000000000 s0 @1536\n"
	       "0 gnu 644 1000:100 t10.000000000 s0 @2048\n"
	       "0 p/star 644 1000:100 t10.000000000 s0 @2560\n"
	       "0 \303\244 644 1000:100 t10.000000000 s0 @3072\n");
}

static void reads_every_way_of_writing_numbers(void **state)
{
	static const struct {
		const char *field; /* of mtime, 12 bytes */
		const char *want;
	} cases[] = {
		{"00000000012", "t10."},	 {"         12 ", "t10."},	{"12\0\0\0\0\0\0\0\0\0", "t10."},
		{"\0\0\0\0\0\0\0\0\0\0\0", "t0."}, {"            ", "t0."},	{"777777777777", "t68719476735."},
		{"12\0zzzzzzzz", "t10."}, /* what is behind a NUL does not count */
		{"\x80\0\0\0\0\0\0\0\0\0\1\2", "t258."}, {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", "t-2."},
		{"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", "t9223372036854775807."},
		{"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", "t-9223372036854775808."},
	};
	static const char *const bad[] = {"00000000019", "-0000000012", "0x000000012", "1 2        ",
					  "\x80\0\0\0\x80\0\0\0\0\0\0", "\x80\1\0\0\0\0\0\0\0\0\0",
					  "\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff"};
	char want[100];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		header('0', "n", 0);
		edit(136, cases[i].field, 12);
		snprintf(want, sizeof(want), "0 n 644 1000:100 %s000000000 s0 @512\n", cases[i].want);
		expect(want);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		header('0', "n", 0);
		edit(136, bad[i], 12);
		expect_error(-EBADMSG);
	}
}

static void applies_pax_records(void **state)
{
	(void)state;
	pax('x', "path", "long/path", "linkpath", "unused", "uid", "4294967294", "gid", "70000", "mtime", "1.5",
	    "size", "3", "atime", "7", "comment", "x", "SCHILY.xattr.user.b", "2", "SCHILY.xattr.user.a", "1",
	    "SCHILY.xattr.user.b", "three", "SCHILY.xattr.user.e", "", "LIBARCHIVE.xattr.user.a", "eA", NULL);
	header('0', "short", 0);
	text_body("abc");
	header('0', "after", 0);
	pax('x', "linkpath", "there", "path", "l", NULL);
	header('2', "x", 0);
	pax('x', "path", "lost", NULL); /* of two in a row the last counts */
	pax('x', "uid", "5", NULL);
	header('0', "kept", 0);
	expect("0 long/path 644 4294967294:70000 t1.500000000 s3 @1536 user.a=1 user.b=three user.e=\n"
	       "0 after 644 1000:100 t10.000000000 s0 @2560\n"
	       "2 l -> there 644 1000:100 t10.000000000 s0\n"
	       "0 kept 644 5:100 t10.000000000 s0 @6656\n");
}

static void applies_global_records_to_all_that_follow(void **state)
{
	(void)state;
	pax('g', "uid", "1", "mtime", "99", "SCHILY.xattr.user.a", "g", "SCHILY.xattr.user.z", "g", NULL);
	header('0', "a", 0);
	pax('x', "uid", "2", "mtime", "", "SCHILY.xattr.user.a", "x", NULL);
	header('0', "b", 0);
	pax('g', "uid", "3", NULL);
	header('0', "c", 0);
	pax('x', "gid", "8", NULL);
	pax('g', "mtime", "", NULL);
	header('0', "d", 0);
	expect("0 a 644 1:100 t99.000000000 s0 @1536 user.a=g user.z=g\n"
	       "0 b 644 2:100 t10.000000000 s0 @3072 user.a=x user.z=g\n"
	       "0 c 644 3:100 t99.000000000 s0 @4608 user.a=g user.z=g\n"
	       "0 d 644 3:8 t10.000000000 s0 @7168 user.a=g user.z=g\n");
}

static void reads_times_with_fractions(void **state)
{
	static const char *const cases[][2] = {
		{"0", "t0.000000000"},
		{"1.5", "t1.500000000"},
		{"1.", "t1.000000000"},
		{"1.123456789987", "t1.123456789"},
		{"-1.5", "t-2.500000000"},
		{"-0.25", "t-1.750000000"},
		{"-1", "t-1.000000000"},
		{"-1.0000000009", "t-1.000000000"},
		{"-9223372036854775808", "t-9223372036854775808.000000000"},
		{"9223372036854775807.999999999", "t9223372036854775807.999999999"},
	};
	static const char *const bad[] = {"x", "1.x", "-", ".5", "1,5", " 1", "1 ", "9223372036854775808",
					  "-9223372036854775808.1", "-9223372036854775809", "99999999999999999999",
					  "--1", "+1"};
	char want[100];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		pax('x', "mtime", cases[i][0], NULL);
		header('0', "n", 0);
		snprintf(want, sizeof(want), "0 n 644 1000:100 %s s0 @1536\n", cases[i][1]);
		expect(want);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		pax('x', "mtime", bad[i], NULL);
		header('0', "n", 0);
		expect_error(-EBADMSG);
	}
}

static void refuses_records_that_lie(void **state)
{
	static const struct {
		const char *records;
		size_t size;
	} cases[] = {
		{"9 path=ab\n", 10},   {"11 path=ab\n", 10}, {"99 path=ab\n", 10}, {"10 path=abc", 11},
		{"0 path=ab\n", 10},   {"2 path=ab\n", 10},  {"3 \n", 3},	   {"5 =a\n", 5},
		{"7 path\n", 7},       {"path=ab\n", 8},     {" 10 path=a\n", 11}, {"10 path=ab\nx", 12},
		{"11 path=a\0\n\n", 13}, {"11 pa\0th=a\n", 11}, {"-10 path=a\n", 11}, {"18446744073709551626 path=a\n", 27},
		{"11 path=a\0\n", 11}, {"8 uid=x\n", 8},     {"9 uid=-1\n", 9},	   {"9 uid=1 \n", 9},
		{"10 size=-1\n", 10},  {"11 size=1.5\n", 11}, {"28 size=9223372036854775808\n", 28},
		{"18 SCHILY.xattr.=\n", 18},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		raw_pax(cases[i].records, cases[i].size);
		header('0', "n", 0);
		expect_error(-EBADMSG);
	}
	raw_pax("10 path=ab\n", 11); /* right: eleven bytes in all, and so is the record */
	s.data[512] = '1';
	s.data[513] = '1';
	header('0', "n", 0);
	expect("0 ab 644 1000:100 t10.000000000 s0 @1536\n");
}

static void reads_gnu_long_names(void **state)
{
	(void)state;
	gnu_header('L', "././@LongLink", 10);
	body("long name\0", 10);
	gnu_header('K', "././@LongLink", 20);
	body("long link\0 and more ", 20);
	gnu_header('2', "short", 0);
	edit(157, "short", 5);
	gnu_header('L', "././@LongLink", 4);
	text_body("none"); /* no NUL */
	pax('x', "path", "pax", NULL);
	gnu_header('0', "s", 0);
	gnu_header('L', "././@LongLink", 0);
	gnu_header('0', "s", 0);
	expect("2 long name -> long link 644 1000:100 t10.000000000 s0\n"
	       "0 none 644 1000:100 t10.000000000 s0 @5120\n"
	       "0 s 644 1000:100 t10.000000000 s0 @6144\n");
}

static void gnu_entry(size_t at, uint64_t off, uint64_t size)
{
	char text[32];

	snprintf(text, sizeof(text), "%011" PRIo64 "%c%011" PRIo64, off, 0, size);
	put(at, text, 24);
}

static void reads_old_gnu_sparse(void **state)
{
	char want[2000];
	size_t n;

	(void)state;
	gnu_header('S', "few", 6);
	gnu_entry(386, 100, 2);
	gnu_entry(410, 1000, 4);
	gnu_entry(434, 5000, 0);
	edit(483, "00000011610", 12); /* 5000 */
	text_body("aabbbb");
	gnu_header('S', "many", 30);
	for (size_t i = 0; i < 4; i++)
		gnu_entry(386 + 24 * i, 10 * i, 1);
	put(482, "\1", 1);
	edit(483, "\x80\0\0\0\0\0\0\x4\0\0\0\0", 12); /* 16 GiB */
	bytes_append(&s, (uint8_t[1024]){0}, 1024);
	s.size -= 512;
	for (size_t i = 0; i < 21; i++)
		gnu_entry(24 * i, 10 * (i + 4), 1);
	put(504, "\1", 1);
	s.size += 512;
	for (size_t i = 0; i < 5; i++)
		gnu_entry(24 * i, 10 * (i + 25), 1);
	text_body("012345678901234567890123456789");
	gnu_header('S', "holes", 0);
	edit(483, "00000000007", 12);
	header('0', "next", 0);
	n = (size_t)snprintf(want, sizeof(want),
			     "0 few 644 1000:100 t10.000000000 s5000 sparse 100+2@512 1000+4@514\n"
			     "0 many 644 1000:100 t10.000000000 s17179869184 sparse");
	for (size_t i = 0; i < 30; i++)
		n += (size_t)snprintf(want + n, sizeof(want) - n, " %zu+1@%zu", 10 * i, 2560 + i);
	snprintf(want + n, sizeof(want) - n,
		 "\n0 holes 644 1000:100 t10.000000000 s7 sparse\n0 next 644 1000:100 t10.000000000 s0 @4096\n");
	expect(want);
}

static void reads_pax_sparse(void **state)
{
	static const char map[] = "3\n10\n2\n100\n4\n5000\n0\n";

	(void)state;
	pax('x', "GNU.sparse.size", "5000", "GNU.sparse.numblocks", "2", "GNU.sparse.offset", "10",
	    "GNU.sparse.numbytes", "2", "GNU.sparse.offset", "100", "GNU.sparse.numbytes", "4", NULL);
	header('0', "0.0", 6);
	text_body("aabbbb");
	pax('x', "GNU.sparse.size", "5000", "GNU.sparse.numblocks", "3", "GNU.sparse.name", "0.1",
	    "GNU.sparse.map", "10,2,100,4,5000,0", NULL);
	header('0', "GNUSparseFile.1/0.1", 6);
	text_body("aabbbb");
	pax('x', "GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "1.0",
	    "GNU.sparse.realsize", "5000", NULL);
	header('0', "GNUSparseFile.1/1.0", 512 + 6);
	text_body(map);
	text_body("aabbbb");
	pax('x', "GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "hole",
	    "GNU.sparse.realsize", "5000", NULL);
	header('0', "GNUSparseFile.1/hole", 512);
	text_body("1\n5000\n0\n");
	header('0', "next", 0);
	expect("0 0.0 644 1000:100 t10.000000000 s5000 sparse 10+2@1536 100+4@1538\n"
	       "0 0.1 644 1000:100 t10.000000000 s5000 sparse 10+2@3584 100+4@3586\n"
	       "0 1.0 644 1000:100 t10.000000000 s5000 sparse 10+2@6144 100+4@6146\n"
	       "0 hole 644 1000:100 t10.000000000 s5000 sparse\n"
	       "0 next 644 1000:100 t10.000000000 s0 @9216\n");
}

static void refuses_sparse_maps_that_lie(void **state)
{
	static const struct {
		const char *map, *size;
		int error;
	} listed[] = {
		{"0,6", "6", 0},       {"0,6", "5", -EBADMSG},	  {"0,5", "10", -EBADMSG}, {"0,7", "10", -EBADMSG},
		{"0,4,3,2", "9", -EBADMSG}, {"5,2,0,4", "9", -EBADMSG}, {"0", "9", -EBADMSG},	 {"0,6,", "9", -EBADMSG},
		{"0,6,9", "9", -EBADMSG}, {",6", "9", -EBADMSG},	  {"0,-6", "9", -EBADMSG}, {"0,6,5,0", "9", -EBADMSG},
		{"999999999999999999,6", "9", -EBADMSG}, {"0,6", "99999999999999", -EFBIG},
		{"0,6,9999999999999999999,0", "9", -EBADMSG},
	};
	static const char *const in_body[] = {"", "1", "1\n", "1\n0\n", "x", "1\n\n6\n", "2\n0\n6\n5\n0\n", "-1\n",
					      "1\n0\n6 \n", "1\n0\n7\n", "1\n0\n5\n", "1\n15\n6\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(listed) / sizeof(listed[0]); i++) {
		pax('x', "GNU.sparse.map", listed[i].map, "GNU.sparse.size", listed[i].size, NULL);
		header('0', "n", 6);
		text_body("abcdef");
		if (listed[i].error)
			expect_error(listed[i].error);
		s.size = 0;
	}
	for (size_t i = 0; i < sizeof(in_body) / sizeof(in_body[0]); i++) {
		pax('x', "GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "20", NULL);
		header('0', "n", 512 + 6);
		text_body(in_body[i][0] ? in_body[i] : " ");
		text_body("abcdef");
		expect_error(-EBADMSG);
	}
	/* The body stops inside the map, at its end, and inside its padding. */
	for (size_t size = 0; size < 512; size += size == 6 ? 400 : 6) {
		pax('x', "GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "6", NULL);
		header('0', "n", size);
		body("1\n0\n0\n", size ? 6 : 0);
		header('0', "next", 0);
		expect_error(-EBADMSG);
	}
	pax('x', "GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "6", NULL);
	header('0', "n", 512);
	text_body("1048577\n");
	expect_error(-EFBIG);
	pax('x', "GNU.sparse.major", "2", "GNU.sparse.minor", "0", NULL);
	header('0', "n", 0);
	expect_error(-EOPNOTSUPP);
	pax('g', "GNU.sparse.map", "0,1", NULL);
	expect_error(-EOPNOTSUPP);
	pax('x', "GNU.sparse.map", "0,0", NULL);
	header('5', "n", 0);
	expect_error(-EBADMSG);
	header('S', "not-gnu", 0);
	expect_error(-EBADMSG);
}

static void refuses_what_is_no_member(void **state)
{
	(void)state;
	header('0', "a", 0);
	s.data[0] = 'b';
	expect_error(-EBADMSG);
	assert_non_null(strstr(report, "not a tar"));
	header('M', "continued", 0);
	expect_error(-EOPNOTSUPP);
	header('0', "negative", 0);
	edit(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
	expect_error(-EBADMSG);
	header('0', "uid", 0);
	edit(108, "\x80\0\0\0\xff\xff\xff\xff", 8);
	expect_error(-EBADMSG);
	header('0', "uid", 0);
	edit(108, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
	expect_error(-EBADMSG);
	header('3', "device", 0);
	edit(329, "0010000", 8);
	expect_error(-EBADMSG);
	header('2', "no target", 0);
	expect_error(-EBADMSG);
	header('1', "no target", 0);
	expect_error(-EBADMSG);
	assert_non_null(strstr(report, "no target"));
	header('0', "a", 0);
	bytes_append(&s, (uint8_t[512]){0}, 512);
	header('0', "behind a lone zero block", 0);
	expect_error(-EBADMSG);
	pax('x', "uid", "1", NULL);
	end();
	expect_error(-EBADMSG);
}

static void keeps_the_limits(void **state)
{
	static char value[LIMIT_XATTR_VALUE_SIZE + 2], key[LIMIT_XATTR_NAME_SIZE + 16], link[LIMIT_PATH_SIZE + 2];
	struct bytes got = {0};

	(void)state;
	memset(value, 'v', sizeof(value) - 1);
	memset(key, 'k', sizeof(key) - 1);
	memcpy(key, "SCHILY.xattr.", 13);
	memset(link, 'l', sizeof(link) - 1);

	pax('x', "SCHILY.xattr.user.a", value, NULL); /* one too long */
	expect_error(-EFBIG);
	value[LIMIT_XATTR_VALUE_SIZE] = '\0';
	pax('x', "SCHILY.xattr.user.a", value, "SCHILY.xattr.user.b", value, NULL);
	header('0', "n", 0);
	expect_error(-EFBIG); /* together */
	pax('x', "SCHILY.xattr.user.a", value, "SCHILY.xattr.user.a", value, "SCHILY.xattr.user.b", "", NULL);
	header('0', "n", 0);
	assert_int_equal(walk(1u << 30, &got), 0);
	s.size = 0;

	pax('x', key, "v", NULL);
	expect_error(-EFBIG);
	key[LIMIT_XATTR_NAME_SIZE + 13] = '\0';
	pax('x', key, "v", NULL);
	header('0', "n", 0);
	assert_int_equal(walk(1u << 30, &got), 0);
	s.size = 0;

	pax('x', "linkpath", link, NULL);
	header('2', "n", 0);
	expect_error(-EFBIG);
	link[LIMIT_PATH_SIZE] = '\0';
	pax('x', "linkpath", link, NULL);
	header('2', "n", 0);
	assert_int_equal(walk(1u << 30, &got), 0);
	s.size = 0;

	header('x', "n", LIMIT_PAX_SIZE + 1);
	expect_error(-EFBIG);
	header('0', "n", LIMIT_LAYER_FILE_SIZE - 511);
	edit(124, "\x80\0\0\0\0\0\1\0\0\0\0\0", 12); /* 2^40, and a header before it */
	expect_error(-EFBIG);
	bytes_free(&got);
}

/* A stream may stop between members, or in a last body's padding, and nowhere else. */
static void notices_every_cut(void **state)
{
	_cleanup_(bytes_free) struct bytes got = {0};
	size_t whole;

	(void)state;
	expect(""); /* an empty stream is an empty layer */
	header('0', "a", 6);
	text_body("abcdef");
	pax('x', "uid", "7", NULL);
	header('0', "b", 0);
	whole = s.size;
	for (size_t cut = 0; cut < whole; cut++) {
		bool fine = cut == 0 || (cut >= 518 && cut <= 1024);

		report[0] = '\0';
		s.size = cut;
		assert_int_equal(walk(1u << 30, &got), fine ? 0 : -EBADMSG);
		assert_int_equal(walk(97, &got), fine ? 0 : -EBADMSG);
	}
	s.size = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(tells_every_type, forget),
		cmocka_unit_test_setup(reads_old_headers, forget),
		cmocka_unit_test_setup(reads_every_way_of_writing_numbers, forget),
		cmocka_unit_test_setup(applies_pax_records, forget),
		cmocka_unit_test_setup(applies_global_records_to_all_that_follow, forget),
		cmocka_unit_test_setup(reads_times_with_fractions, forget),
		cmocka_unit_test_setup(refuses_records_that_lie, forget),
		cmocka_unit_test_setup(reads_gnu_long_names, forget),
		cmocka_unit_test_setup(reads_old_gnu_sparse, forget),
		cmocka_unit_test_setup(reads_pax_sparse, forget),
		cmocka_unit_test_setup(refuses_sparse_maps_that_lie, forget),
		cmocka_unit_test_setup(refuses_what_is_no_member, forget),
		cmocka_unit_test_setup(keeps_the_limits, forget),
		cmocka_unit_test_setup(notices_every_cut, forget),
	};
	int r;

	report_capture(report);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	bytes_free(&s);
	return r;
}
