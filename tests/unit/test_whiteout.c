/* whiteout finds the marks in member paths, and nothing else. */
#include "base/report.h" /* before cmocka.h, which has a macro fail() */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "format/whiteout.h"

static int classify(const char *text, struct whiteout *ret)
{
	struct member_path p;
	int r = member_path_check(text, &p);

	return r < 0 ? r : whiteout_classify(&p, ret);
}

static void tells_marks_from_members(void **state)
{
	static const struct {
		const char *text;
		int r;
		enum whiteout_kind kind;
		const char *name;
	} cases[] = {
		{"", 0, WHITEOUT_NONE, NULL},
		{"a/b", 0, WHITEOUT_NONE, NULL},
		{"a/.whb", 0, WHITEOUT_NONE, NULL},
		{"a/x.wh.b", 0, WHITEOUT_NONE, NULL},
		{".wh.b", 0, WHITEOUT_NAME, "b"},
		{"./a/.wh.b/", 0, WHITEOUT_NAME, "b"},
		{"a/.wh..b", 0, WHITEOUT_NAME, ".b"},
		{"a/.wh....", 0, WHITEOUT_NAME, "..."},
		{"a/.wh.wh.b", 0, WHITEOUT_NAME, "wh.b"},
		{".wh..wh..opq", 0, WHITEOUT_OPAQUE, NULL},
		{"/a/b/.wh..wh..opq", 0, WHITEOUT_OPAQUE, NULL},
		{".wh..wh.plnk", 0, WHITEOUT_IGNORE, NULL},
		{".wh..wh.plnk/12.34", 0, WHITEOUT_IGNORE, NULL},
		{"a/.wh..wh.aufs", 0, WHITEOUT_IGNORE, NULL},
		{".wh..wh..opq/a", 0, WHITEOUT_IGNORE, NULL},
		{"a/.wh.", -EBADMSG, 0, NULL},
		{"a/.wh..", -EBADMSG, 0, NULL},
		{"a/.wh...", -EBADMSG, 0, NULL},
		{"a/.wh.b/c", -EBADMSG, 0, NULL},
	};
	char text[REPORT_TEXT_SIZE];

	(void)state;
	report_capture(text);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct whiteout w = {0};

		assert_int_equal(classify(cases[i].text, &w), cases[i].r);
		if (cases[i].r < 0)
			continue;
		assert_int_equal(w.kind, cases[i].kind);
		if (w.kind == WHITEOUT_NAME) {
			assert_int_equal(w.name_size, strlen(cases[i].name));
			assert_memory_equal(w.name, cases[i].name, w.name_size);
		}
	}
	report_capture(NULL);
}

static void hides_the_longest_name(void **state)
{
	char path[LIMIT_NAME_SIZE + 8], report[REPORT_TEXT_SIZE];
	struct whiteout w;

	(void)state;
	report_capture(report);
	memset(path, 'n', sizeof(path));
	memcpy(path, ".wh.", 4);
	path[LIMIT_NAME_SIZE + 4] = '\0';
	assert_int_equal(classify(path, &w), 0);
	assert_int_equal(w.name_size, LIMIT_NAME_SIZE);
	path[LIMIT_NAME_SIZE + 4] = 'n';
	path[LIMIT_NAME_SIZE + 5] = '\0';
	assert_int_equal(classify(path, &w), -EFBIG);
	report_capture(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_marks_from_members),
		cmocka_unit_test(hides_the_longest_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
