/* member_path reads every way of writing a path, and refuses what climbs or passes a limit. */
#include "base/report.h" /* before cmocka.h, which has a macro fail() */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "format/member_path.h"

static char report[REPORT_TEXT_SIZE];

/* "a/b" out of whatever way it was written; -errno as negative. */
static int normal(const char *text, char *ret)
{
	struct member_path p;
	struct member_name n;
	bool last = false;
	size_t count = 0;
	int r = member_path_check(text, &p);

	if (r < 0)
		return r;
	while (member_path_next(&p, &n)) {
		assert_false(last);
		last = n.last;
		if (count++)
			*ret++ = '/';
		memcpy(ret, n.name, n.size);
		ret += n.size;
	}
	*ret = '\0';
	assert_int_equal(count, p.n_components);
	assert_true(last || !count);
	return 0;
}

static void reads_every_way_of_writing(void **state)
{
	static const char *const cases[][2] = {
		{"", ""},	 {".", ""},	   {"/", ""},	    {"./", ""},	      {"./.", ""},
		{"//./", ""},	 {"a", "a"},	   {"a/", "a"},	    {"a/.", "a"},     {"./a", "a"},
		{"/a//b", "a/b"}, {"a/./b/./", "a/b"}, {".a/..b", ".a/..b"}, {"...", "..."}, {"a./b.", "a./b."},
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(normal(cases[i][0], out), 0);
		assert_string_equal(out, cases[i][1]);
	}
}

static void refuses_paths_that_climb(void **state)
{
	static const char *const cases[] = {"..", "../", "a/..", "a/../b", "/..", "./../a", "a//../b"};
	char out[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(normal(cases[i], out), -EBADMSG);
	assert_non_null(strstr(report, "a//../b"));
}

static void keeps_the_limits(void **state)
{
	static char path[3 * LIMIT_PATH_SIZE], out[3 * LIMIT_PATH_SIZE];

	(void)state;
	memset(path, 'n', LIMIT_NAME_SIZE);
	assert_int_equal(normal(path, out), 0);
	path[LIMIT_NAME_SIZE] = 'n';
	assert_int_equal(normal(path, out), -EFBIG);

	for (size_t i = 0; i < LIMIT_PATH_SIZE; i++)
		path[i] = i % 200 == 199 ? '/' : 'p';
	path[LIMIT_PATH_SIZE] = '\0';
	assert_int_equal(normal(path, out), 0);
	memcpy(path + LIMIT_PATH_SIZE, "p", 2);
	assert_int_equal(normal(path, out), -EFBIG);

	for (size_t i = 0; i < 2 * LIMIT_DEPTH; i += 2)
		memcpy(path + i, "d/", 3);
	path[2 * LIMIT_DEPTH - 1] = '\0';
	assert_int_equal(normal(path, out), 0);
	memcpy(path + 2 * LIMIT_DEPTH - 1, "/d", 3);
	assert_int_equal(normal(path, out), -EFBIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_every_way_of_writing),
		cmocka_unit_test(refuses_paths_that_climb),
		cmocka_unit_test(keeps_the_limits),
	};

	report_capture(report);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
