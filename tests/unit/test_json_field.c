/* json_field takes one whole value, and refuses what would cost more memory than it is worth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_field.h"
#include "base/limits.h"

static void takes_one_whole_value(void **state)
{
	static const struct {
		const char *text;
		int result;
	} cases[] = {
		{"{}", 0},	      {" {\"a\":[1,2]}\r\n\t ", 0}, {"7", 0},		 {"\"a\"", 0},
		{"", -EBADMSG},	      {"{", -EBADMSG},		    {"{}{}", -EBADMSG},	 {"{} x", -EBADMSG},
		{"{'a':1}", -EBADMSG}, {"{\"a\":1,}", -EBADMSG},     {"[1] // x", -EBADMSG}, {"[/**/1]", -EBADMSG}, {"\"\xff\"", -EBADMSG},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct json_object *o = NULL;

		if (json_field_parse(cases[i].text, strlen(cases[i].text), &o) != cases[i].result)
			fail_msg("%s", cases[i].text);
		json_field_free(&o);
	}
}

static void limits_values_but_not_what_strings_hold(void **state)
{
	size_t n = LIMIT_JSON_VALUES, size = 2 * n + 1;
	char *text = malloc(size + 8);
	struct json_object *o = NULL;

	(void)state;
	text[0] = '[';
	for (size_t i = 0; i < n; i++)
		memcpy(text + 1 + 2 * i, "1,", 2);
	text[size - 1] = ']'; /* in place of the last comma: 1 + (n - 1) are counted */
	assert_int_equal(json_field_parse(text, size, &o), 0);
	assert_int_equal(json_object_array_length(o), n);
	json_field_free(&o);
	memcpy(text + size - 1, ",1]", 3);
	assert_int_equal(json_field_parse(text, size + 2, &o), -EFBIG);
	memset(text, '{', size);
	memcpy(text, "\"\\\"", 3);
	text[size - 1] = '"';
	assert_int_equal(json_field_parse(text, size, &o), 0);
	json_field_free(&o);
	free(text);
}

static void checks_types(void **state)
{
	static const char text[] = "{\"s\":\"x\",\"nul\":\"a\\u0000b\",\"n\":-1,\"u\":18446744073709551615,\"z\":null}";
	struct json_object *o = NULL, *child;
	const char *s = "kept";
	uint64_t u = 5;

	(void)state;
	assert_int_equal(json_field_parse(text, strlen(text), &o), 0);
	assert_int_equal(json_field_string(o, "nul", &s), -EBADMSG);
	assert_int_equal(json_field_string(o, "u", &s), -EBADMSG);
	assert_int_equal(json_field_string(o, "z", &s), -ENOENT);
	assert_int_equal(json_field_string(o, "absent", &s), -ENOENT);
	assert_string_equal(s, "kept");
	assert_int_equal(json_field_u64(o, "n", &u), -EBADMSG);
	assert_int_equal(u, 5);
	assert_int_equal(json_field_u64(o, "u", &u), 0);
	assert_true(u == UINT64_MAX);
	assert_int_equal(json_field_object(o, "s", &child), -EBADMSG);
	assert_int_equal(json_field_string(NULL, "s", &s), -EBADMSG);
	json_field_free(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_one_whole_value),
		cmocka_unit_test(limits_values_but_not_what_strings_hold),
		cmocka_unit_test(checks_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
