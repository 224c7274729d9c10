/* tar_header reads old and new header blocks, and numbers in every way they were ever written. */
#include "tests/unit/tar_fixture.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		tar_test(reads_old_headers),
		tar_test(reads_every_way_of_writing_numbers),
	};

	return run_tar_tests(tests);
}
