/* mentions finds names that are whole texts, and no others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "fetch/layer_files.h"
#include "fetch/mentions.h"

static struct mentions found;

static bool has(const char *name)
{
	return mentions_has(&found, layer_files_hash(name, strlen(name)));
}

static void finds_quoted_names(void **state)
{
	static const char text[] = "require('./lib/part.js'); import \"side\" bare 'two words' 'open";

	(void)state;
	mentions_read(text, sizeof(text) - 1, &found);
	assert_true(has("lib") && has("part") && has("side"));
	assert_false(has("bare") || has("require") || has("two") || has("words") || has("open") || has("js"));
}

static void finds_counted_names(void **state)
{
	static const char code[] = "\xe3\x02os\xda\x05" "abcderest\x03xy\x07short";

	(void)state;
	mentions_read(code, sizeof(code) - 1, &found);
	assert_true(has("os") && has("abcde"));
	assert_false(has("abcderest") || has("xy") || has("short"));
}

static void takes_so_many(void **state)
{
	static char text[(MENTIONS_MAX + 100) * 5];
	char *at = text;

	(void)state;
	for (unsigned int i = 0; i < MENTIONS_MAX + 100; i++) {
		const char name[] = {'\'', (char)('a' + i % 26), (char)('a' + i / 26 % 26), (char)('a' + i / 676), '\''};

		memcpy(at, name, sizeof(name));
		at += sizeof(name);
	}
	mentions_read(text, sizeof(text), &found);
	assert_int_equal(found.n, MENTIONS_MAX);
	assert_true(has("aaa") && has("zaa"));
	for (size_t n = 0; n < 200; n++)
		mentions_read(text, n, &found); /* wherever it ends, it reads no further */
	mentions_read(text, 0, &found);
	assert_int_equal(found.n, 0);
	assert_false(has("aaa"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_quoted_names),
		cmocka_unit_test(finds_counted_names),
		cmocka_unit_test(takes_so_many),
	};

	return cmocka_run_group_tests_name("mentions", tests, NULL, NULL);
}
