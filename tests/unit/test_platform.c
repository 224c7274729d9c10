/* platform reads the usual spellings, and knows which variant runs where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <string.h>

#include "base/report.h" /* before cmocka.h, which makes fail() a macro */
#include "format/platform.h"

#include <cmocka.h>

static void reads_what_people_write(void **state)
{
	static const struct {
		const char *text, *canonical;
	} cases[] = {
		{"linux/amd64", "linux/amd64"},	      {"linux/amd64/v3", "linux/amd64/v3"},
		{"linux/x86_64", "linux/amd64"},      {"Linux/AMD64", "linux/amd64"},
		{"linux/arm64/v8", "linux/arm64/v8"}, {"linux/arm64", "linux/arm64"},
		{"linux/arm64/8", "linux/arm64/v8"},  {"linux/aarch64", "linux/arm64/v8"},
		{"linux/arm/v7", "linux/arm/v7"},     {"linux/armhf", "linux/arm/v7"},
		{"arm64", "linux/arm64"},	      {"windows/amd64", "windows/amd64"},
		{"linux/i686", "linux/386"},	      {"linux/s390x", "linux/s390x"},
	};
	struct platform p;
	char text[128];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(platform_parse(cases[i].text, &p), 0);
		assert_string_equal(platform_text(&p, text), cases[i].canonical);
	}
}

static void refuses_what_is_none(void **state)
{
	static const char *const cases[] = {"",	       "/",	    "linux/",	"/amd64", "linux/arm/v7/x", "linux//v7", "linux/amd64/",
					    "li nux/a", "linux/a\n", "linux/12345678901234567890123456789012"};
	struct platform p;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char said[REPORT_TEXT_SIZE];

		report_capture(said);
		assert_int_equal(platform_parse(cases[i], &p), -EINVAL);
		report_capture(NULL);
		assert_non_null(strstr(said, "linux/arm/v7"));
	}
}

static void knows_what_runs_where(void **state)
{
	static const struct {
		const char *wanted, *have;
		int distance;
	} cases[] = {
		{"linux/amd64", "linux/amd64", 0},     {"linux/amd64", "linux/amd64/v1", 0},
		{"linux/amd64", "linux/amd64/v2", -1}, {"linux/amd64/v3", "linux/amd64/v2", 100},
		{"linux/amd64/v3", "linux/amd64", 200}, {"linux/amd64/v3", "linux/amd64/v4", -1},
		{"linux/arm/v7", "linux/arm/v6", 100}, {"linux/arm/v7", "linux/arm/v5", 200},
		{"linux/arm/v7", "linux/arm", 0},      {"linux/arm", "linux/arm/v7", 0},
		{"linux/arm/v6", "linux/arm/v7", -1},  {"linux/arm/v6", "linux/arm", -1},
		{"linux/arm64", "linux/arm64/v8", 0},  {"linux/arm64/v8", "linux/arm64", 0},
		{"linux/arm64", "linux/arm/v7", -1},   {"linux/arm64/v9", "linux/arm64/v8.2", 98},
		{"linux/arm64", "linux/arm64/v9", -1}, {"linux/arm64", "linux/arm64/vx", -1},
		{"linux/amd64", "windows/amd64", -1},  {"linux/amd64", "linux/386", -1},
		{"linux/ppc64le", "linux/ppc64le", 0}, {"linux/ppc64le", "linux/ppc64le/power9", 2},
		{"linux/mips/a", "linux/mips", 1},     {"linux/mips/a", "linux/mips/b", -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct platform w, h;

		assert_int_equal(platform_parse(cases[i].wanted, &w), 0);
		assert_int_equal(platform_parse(cases[i].have, &h), 0);
		if (platform_distance(&w, &h) != cases[i].distance)
			fail_msg("%s from %s is %d", cases[i].wanted, cases[i].have, platform_distance(&w, &h));
	}
}

static void names_this_machine(void **state)
{
	struct platform p, q;
	char text[128];

	(void)state;
	assert_int_equal(platform_parse(NULL, &p), 0);
	assert_string_equal(p.os, "linux");
	assert_true(p.architecture[0]);
	assert_int_equal(platform_parse(platform_text(&p, text), &q), 0);
	assert_memory_equal(&p, &q, sizeof(p));
	assert_int_equal(platform_parse("linux", &q), 0);
	assert_memory_equal(&p, &q, sizeof(p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_people_write),
		cmocka_unit_test(refuses_what_is_none),
		cmocka_unit_test(knows_what_runs_where),
		cmocka_unit_test(names_this_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
