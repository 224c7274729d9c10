/* pax records change the members that follow, and are refused when they lie. */
#include "tests/unit/tar_fixture.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		tar_test(applies_pax_records),
		tar_test(applies_global_records_to_all_that_follow),
		tar_test(reads_times_with_fractions),
		tar_test(refuses_records_that_lie),
	};

	return run_tar_tests(tests);
}
