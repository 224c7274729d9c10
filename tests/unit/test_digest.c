/* digest accepts exactly the registered grammar: it becomes a file name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/digest.h"
#include "base/hash.h"

#define HEX64 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void accepts_and_rejects(void **state)
{
	static const struct {
		const char *text;
		int result;
	} cases[] = {
		{"sha256:" HEX64, 0},
		{"sha512:" HEX64 HEX64, 0},
		{"sha256:" HEX64 "0", -EINVAL},
		{"sha256:E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", -EINVAL},
		{"sha256:../../../../../../etc/passwd", -EINVAL},
		{"sha256:", -EINVAL},
		{":" HEX64, -EINVAL},
		{"", -EINVAL},
		{"md5:d41d8cd98f00b204e9800998ecf8427e", -EOPNOTSUPP},
		{"sha512:" HEX64, -EINVAL},
	};
	struct digest d;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(digest_parse(cases[i].text, strlen(cases[i].text), &d), cases[i].result);
}

static void hashes_as_the_standard_says(void **state)
{
	char text[DIGEST_TEXT_MAX];
	struct digest d, e;

	(void)state;
	hash_bytes("", 0, &d);
	assert_string_equal(digest_text(&d, text), "sha256:" HEX64);
	assert_int_equal(digest_parse(text, strlen(text), &e), 0);
	assert_true(digest_equal(&d, &e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_and_rejects),
		cmocka_unit_test(hashes_as_the_standard_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
