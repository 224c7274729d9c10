/* Progress: which lines and bars appear, that they fit, and that nothing is drawn for what is here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/human.h"
#include "cli/progress.h"

static const char digest[] = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static void take(struct progress *p, size_t layer, uint64_t done, enum progress_state state, int64_t ms,
		 struct bytes *out)
{
	const struct progress_event e = {layer, 3, digest, done, 1000000, state};

	assert_int_equal(progress_take(p, &e, ms, out), 0);
}

static void writes_a_line_at_start_and_end(void **unused)
{
	struct progress *p;
	struct bytes out = {0};

	(void)unused;
	assert_int_equal(progress_new(PROGRESS_LINES, &p), 0);
	take(p, 0, 0, PROGRESS_PRESENT, 0, &out);
	take(p, 1, 0, PROGRESS_WAITING, 0, &out);
	take(p, 1, 0, PROGRESS_STREAMING, 1, &out);
	take(p, 1, 500000, PROGRESS_STREAMING, 2, &out);
	take(p, 1, 1000000, PROGRESS_DONE, 3, &out);
	take(p, 1, 1000000, PROGRESS_DONE, 4, &out);
	assert_int_equal(bytes_terminate(&out), 0);
	assert_string_equal((char *)out.data, "layer 2/3 0123456789ab: fetching 1.0 MB\n"
					      "layer 2/3 0123456789ab: here, 1.0 MB\n");
	assert_null(strchr((char *)out.data, '\033'));
	bytes_free(&out);
	progress_free(&p);
}

static void draws_bars_that_fit_any_width(void **unused)
{
	(void)unused;
	for (unsigned int columns = 1; columns < 300; columns++) {
		struct progress *p;
		struct bytes out = {0};
		size_t length = 0, n_lines = 0;

		assert_int_equal(progress_new(PROGRESS_BARS, &p), 0);
		take(p, 0, 0, PROGRESS_PRESENT, 1, &out);
		take(p, 1, 100000, PROGRESS_STREAMING, 1, &out);
		take(p, 2, 0, PROGRESS_WAITING, 1, &out);
		take(p, 1, 500000, PROGRESS_STREAMING, 1001, &out);
		assert_int_equal(out.size, 0);
		assert_int_equal(progress_draw(p, columns, 24, 1001, &out), 0);
		for (size_t i = 0; i < out.size; i++) {
			length++;
			if (out.data[i] != '\n')
				continue;
			assert_true(length - 1 < columns || columns == 1);
			length = 0;
			n_lines++;
		}
		assert_int_equal(n_lines, 2); /* the layer on its way, and all */
		out.size = 0;
		assert_int_equal(progress_clear(p, columns, &out), 0);
		bytes_free(&out);
		progress_free(&p);
	}
}

static void says_rate_and_what_is_left(void **unused)
{
	struct progress *p;
	struct bytes out = {0};

	(void)unused;
	assert_int_equal(progress_new(PROGRESS_BARS, &p), 0);
	take(p, 1, 0, PROGRESS_STREAMING, 1, &out);
	take(p, 1, 400000, PROGRESS_STREAMING, 1001, &out);
	assert_int_equal(progress_draw(p, 100, 24, 1001, &out), 0);
	assert_int_equal(bytes_terminate(&out), 0);
	assert_non_null(strstr((char *)out.data, "0123456789ab [================>"));
	assert_non_null(strstr((char *)out.data, "400 kB / 1.0 MB  400 kB/s, 2 s left\n"));
	bytes_free(&out);
	progress_free(&p);
}

static void clears_wrapped_lines_after_a_resize(void **unused)
{
	struct progress *p;
	struct bytes out = {0};

	(void)unused;
	assert_int_equal(progress_new(PROGRESS_BARS, &p), 0);
	take(p, 1, 400000, PROGRESS_STREAMING, 1, &out);
	assert_int_equal(progress_draw(p, 80, 24, 1, &out), 0);
	out.size = 0;
	/* Two lines of more than 70 columns take two rows each on 40. */
	assert_int_equal(progress_clear(p, 40, &out), 0);
	assert_int_equal(bytes_terminate(&out), 0);
	assert_string_equal((char *)out.data, "\r\033[4A\033[J");
	out.size = 0;
	assert_int_equal(progress_clear(p, 40, &out), 0);
	assert_int_equal(out.size, 0);
	bytes_free(&out);
	progress_free(&p);
}

static void refuses_layers_that_cannot_be(void **unused)
{
	const struct progress_event wrong[] = {{5, 3, digest, 0, 1, PROGRESS_STREAMING},
					       {100000, 200000, digest, 0, 1, PROGRESS_STREAMING},
					       {0, 0, NULL, 0, 0, PROGRESS_DONE}};
	struct progress *p;
	struct bytes out = {0};

	(void)unused;
	assert_int_equal(progress_new(PROGRESS_LINES, &p), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(progress_take(p, &wrong[i], 0, &out), 0);
	assert_int_equal(out.size, 0);
	progress_free(&p);
}

static void is_quiet_where_it_should_be(void **unused)
{
	(void)unused;
	assert_int_equal(progress_mode_of_stderr(true, true), PROGRESS_NONE);
	setenv("TERM", "dumb", 1);
	assert_int_equal(progress_mode_of_stderr(false, true), PROGRESS_LINES);
	assert_int_equal(progress_mode_of_stderr(false, false), PROGRESS_NONE);
	setenv("TERM", "xterm", 1);
	setenv("NO_COLOR", "1", 1);
	assert_int_equal(progress_mode_of_stderr(false, true), PROGRESS_LINES);
}

static void reads_numbers_as_people_do(void **unused)
{
	char text[HUMAN_SIZE];

	(void)unused;
	assert_string_equal(human_bytes(0, text), "0 B");
	assert_string_equal(human_bytes(999, text), "999 B");
	assert_string_equal(human_bytes(1000, text), "1.0 kB");
	assert_string_equal(human_bytes(999949, text), "1000 kB");
	assert_string_equal(human_bytes(999960, text), "1.0 MB");
	assert_string_equal(human_bytes(123456789, text), "123 MB");
	assert_string_equal(human_bytes(UINT64_MAX, text), "18.4 EB");
	assert_string_equal(human_duration(59, text), "59 s");
	assert_string_equal(human_duration(185, text), "3 min 5 s");
	assert_string_equal(human_duration(7800, text), "2 h 10 min");
	assert_string_equal(human_age(0, text), "0 seconds");
	assert_string_equal(human_age(1, text), "1 second");
	assert_string_equal(human_age(36 * 3600, text), "36 hours");
	assert_string_equal(human_age(10 * 86400, text), "10 days");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_a_line_at_start_and_end),
		cmocka_unit_test(draws_bars_that_fit_any_width),
		cmocka_unit_test(says_rate_and_what_is_left),
		cmocka_unit_test(clears_wrapped_lines_after_a_resize),
		cmocka_unit_test(refuses_layers_that_cannot_be),
		cmocka_unit_test(is_quiet_where_it_should_be),
		cmocka_unit_test(reads_numbers_as_people_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
