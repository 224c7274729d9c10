/* sparse_map reads all five notations, and refuses maps that do not fit their file. */
#include "tests/unit/tar_fixture.h"

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
	pax('x', "GNU.sparse.name", "no map, so not sparse", NULL);
	header('0', "next", 0);
	expect("0 0.0 644 1000:100 t10.000000000 s5000 sparse 10+2@1536 100+4@1538\n"
	       "0 0.1 644 1000:100 t10.000000000 s5000 sparse 10+2@3584 100+4@3586\n"
	       "0 1.0 644 1000:100 t10.000000000 s5000 sparse 10+2@6144 100+4@6146\n"
	       "0 hole 644 1000:100 t10.000000000 s5000 sparse\n"
	       "0 next 644 1000:100 t10.000000000 s0 @10240\n");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		tar_test(reads_old_gnu_sparse),
		tar_test(reads_pax_sparse),
		tar_test(refuses_sparse_maps_that_lie),
	};

	return run_tar_tests(tests);
}
