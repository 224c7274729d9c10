/* beside keeps the result and the text of what it did, and nothing of it reaches the beginner before he asks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <string.h>

#include "base/beside.h" /* before cmocka.h, which makes fail() a macro */

static int work(void *argument)
{
	const char *text = argument;

	return !text ? 7 : text[0] ? fail(EBADMSG, "%s", text) : -EIO;
}

#include <cmocka.h>

static void keeps_result_and_text(void **state)
{
	static const struct {
		const char *argument;
		int want;
		const char *text;
	} cases[] = {{NULL, 7, ""}, {"", -EIO, ""}, {"it broke", -EBADMSG, "it broke"}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct beside b = {0};
		char text[REPORT_TEXT_SIZE];

		report_capture(text);
		beside_begin(&b, work, (void *)cases[i].argument);
		assert_int_equal(beside_end(&b), cases[i].want);
		assert_string_equal(b.text, cases[i].text);
		assert_string_equal(text, "");
		assert_int_equal(beside_report(&b), cases[i].want);
		assert_string_equal(text, cases[i].text);
		report_capture(NULL);
	}
}

static void what_never_began_is_well(void **state)
{
	struct beside b = {0};

	(void)state;
	assert_int_equal(beside_end(&b), 0);
	assert_int_equal(beside_report(&b), 0);
}

static void a_note_leaves_the_beginners_text_alone(void **state)
{
	char text[REPORT_TEXT_SIZE];

	(void)state;
	report_capture(text);
	beside_note("a part is left", work, (void *)"it broke"); /* standard error */
	assert_string_equal(text, "");
	report_capture(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_result_and_text),
		cmocka_unit_test(what_never_began_is_well),
		cmocka_unit_test(a_note_leaves_the_beginners_text_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
