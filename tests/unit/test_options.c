/* Flags: every way to write them, and what is said when one is wrong. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/fd.h"
#include "base/report.h"
#include "cli/options.h"

#include <cmocka.h> /* after report.h: it makes a macro of fail() */

struct values {
	bool interactive, tty, no_verify;
	const char *user, *platform;
	struct option_list env;
};

#define SPECS(v)                                                                                   \
	{                                                                                          \
		{"interactive", 'i', OPTION_FLAG, &(v).interactive, NULL, ""},                     \
		{"tty", 't', OPTION_FLAG, &(v).tty, NULL, ""},                                     \
		{"tls-verify", 0, OPTION_FLAG_OFF, &(v).no_verify, NULL, ""},                      \
		{"user", 'u', OPTION_TEXT, &(v).user, "USER", ""},                                 \
		{"platform", 0, OPTION_TEXT, &(v).platform, "OS/ARCH", ""},                        \
		{"env", 'e', OPTION_LIST, &(v).env, "NAME=VALUE", ""},                             \
		{0},                                                                               \
	}

static int count(char **argv)
{
	int n = 0;

	while (argv[n])
		n++;
	return n;
}

static void takes_flags_however_they_are_written(void **unused)
{
	struct values v = {0};
	struct option_spec specs[] = SPECS(v);
	struct option_rules rules = {"run", specs, 1, -1, true};
	char *argv[] = {"run", "-it", "-eA=b", "-e", "C", "--env=D=e", "--env", "F", "-u=me", "--tls-verify=false",
			"--platform", "linux/arm64", "debian", "-x", "--", "y", NULL};
	struct options_result o;

	(void)unused;
	assert_int_equal(options_parse(&rules, count(argv), argv, &o), 0);
	assert_true(v.interactive && v.tty && v.no_verify);
	assert_string_equal(v.user, "me");
	assert_string_equal(v.platform, "linux/arm64");
	assert_int_equal(v.env.n_texts, 4);
	assert_string_equal(v.env.texts[0], "A=b");
	assert_string_equal(v.env.texts[1], "C");
	assert_string_equal(v.env.texts[2], "D=e");
	assert_string_equal(v.env.texts[3], "F");
	/* All behind the image is the container's, "--" too. */
	assert_int_equal(o.n_operands, 4);
	assert_string_equal(o.operands[0], "debian");
	assert_string_equal(o.operands[1], "-x");
	assert_string_equal(o.operands[2], "--");
	assert_null(o.operands[4]);
	option_list_free(&v.env);
}

static void mixes_flags_and_operands_elsewhere(void **unused)
{
	struct values v = {0};
	struct option_spec specs[] = SPECS(v);
	struct option_rules rules = {"ls", specs, 1, 2, false};
	char *argv[] = {"ls", "debian", "-t", "--", "-i", NULL};
	struct options_result o;

	(void)unused;
	assert_int_equal(options_parse(&rules, count(argv), argv, &o), 0);
	assert_true(v.tty);
	assert_false(v.interactive);
	assert_int_equal(o.n_operands, 2);
	assert_string_equal(o.operands[1], "-i");
}

static void says_what_is_wrong_and_what_to_do(void **unused)
{
	static const struct {
		char *argv[4];
		const char *text;
	} cases[] = {
		{{"run", "--platfrom", "x"}, "run: unknown flag --platfrom; did you mean --platform?"},
		{{"run", "--wings"}, "run: unknown flag --wings; `lazyrun run --help` lists what there is"},
		{{"run", "-z", "debian"}, "run: unknown flag -z; `lazyrun run --help` lists what there is"},
		{{"run", "-tz", "debian"}, "run: unknown flag -z; `lazyrun run --help` lists what there is"},
		{{"run", "--user"}, "run: --user needs a value: --user USER"},
		{{"run", "-e"}, "run: --env needs a value: --env NAME=VALUE"},
		{{"run", "--tty=maybe", "x"}, "run: --tty=maybe: it is either =true or =false"},
		{{"run"}, "run: an argument is missing; `lazyrun run --help` shows how it is used"},
		{{"run", "a", "b"}, "run: 'b' is one argument too many; `lazyrun run --help` shows how it is used"},
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct values v = {0};
		struct option_spec specs[] = SPECS(v);
		struct option_rules rules = {"run", specs, 1, 1, false};
		char *argv[4];
		char text[REPORT_TEXT_SIZE];
		struct options_result o;

		memcpy(argv, cases[i].argv, sizeof(argv));
		report_capture(text);
		assert_int_equal(options_parse(&rules, count(argv), argv, &o), -EINVAL);
		report_capture(NULL);
		assert_string_equal(text, cases[i].text);
		option_list_free(&v.env);
	}
}

static void asks_for_help_before_anything_is_missing(void **unused)
{
	struct option_rules rules = {"run", NULL, 1, 1, true};
	char *long_help[] = {"run", "--help", NULL}, *short_help[] = {"run", "-h", NULL};
	struct options_result o;

	(void)unused;
	assert_int_equal(options_parse(&rules, 2, long_help, &o), 0);
	assert_true(o.help);
	assert_int_equal(options_parse(&rules, 2, short_help, &o), 0);
	assert_true(o.help);
}

static void measures_how_far_words_are_apart(void **unused)
{
	(void)unused;
	assert_int_equal(options_distance("pull", "pull"), 0);
	assert_int_equal(options_distance("plul", "pull"), 1);
	assert_int_equal(options_distance("pul", "pull"), 1);
	assert_int_equal(options_distance("", "pull"), 4);
	assert_int_equal(options_distance("kitten", "sitting"), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_flags_however_they_are_written),
		cmocka_unit_test(mixes_flags_and_operands_elsewhere),
		cmocka_unit_test(says_what_is_wrong_and_what_to_do),
		cmocka_unit_test(asks_for_help_before_anything_is_missing),
		cmocka_unit_test(measures_how_far_words_are_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
