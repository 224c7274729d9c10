/* tar tells the members of every dialect alike, in pieces of any size, and refuses what is none. */
#include "tests/unit/tar_fixture.h"

#include "base/limits.h"

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
		tar_test(tells_every_type),
		tar_test(reads_gnu_long_names),
		tar_test(refuses_what_is_no_member),
		tar_test(keeps_the_limits),
		tar_test(notices_every_cut),
	};

	return run_tar_tests(tests);
}
