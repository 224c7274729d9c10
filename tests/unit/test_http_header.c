/* http_header obeys exactly what RFC 9110 allows, and nothing that only looks like it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fetch/http_header.h"

static void parses_content_ranges(void **state)
{
	static const struct {
		const char *value;
		int result;
		uint64_t first, last, total;
	} cases[] = {
		{"bytes 0-0/1", 0, 0, 0, 1},
		{"bytes 5-99/1234", 0, 5, 99, 1234},
		{"Bytes  5-99/* ", 0, 5, 99, HTTP_HEADER_UNKNOWN},
		{"bytes 18446744073709551613-18446744073709551614/*", 0, UINT64_MAX - 2,
		 UINT64_MAX - 1, HTTP_HEADER_UNKNOWN},
		{"bytes 0-18446744073709551615/*", -EBADMSG, 0, 0, 0},
		{"bytes 0-18446744073709551616/*", -EBADMSG, 0, 0, 0},
		{"bytes 0-99/99", -EBADMSG, 0, 0, 0},
		{"bytes 9-5/10", -EBADMSG, 0, 0, 0},
		{"bytes */10", -EBADMSG, 0, 0, 0},
		{"bytes -5-9/10", -EBADMSG, 0, 0, 0},
		{"bytes 5 - 9/10", -EBADMSG, 0, 0, 0},
		{"bytes=5-9/10", -EBADMSG, 0, 0, 0},
		{"bytes 5-9", -EBADMSG, 0, 0, 0},
		{"bytes 5-9/", -EBADMSG, 0, 0, 0},
		{"bytes 5-9/10x", -EBADMSG, 0, 0, 0},
		{"bytes 0x5-9/10", -EBADMSG, 0, 0, 0},
		{"items 5-9/10", -EBADMSG, 0, 0, 0},
		{"", -EBADMSG, 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t first = 0, last = 0, total = 0;

		assert_int_equal(http_header_content_range(cases[i].value, &first, &last, &total),
				 cases[i].result);
		assert_true(first == cases[i].first && last == cases[i].last &&
			    total == cases[i].total);
	}
}

static void parses_retry_after(void **state)
{
	static const struct {
		const char *value;
		int result;
		uint64_t seconds;
	} cases[] = {
		{"0", 0, 0},
		{" 120 ", 0, 120},
		{"99999999999999999999", -EBADMSG, 0},
		{"12 13", -EBADMSG, 0},
		{"-5", -EBADMSG, 0},
		{"1.5", -EBADMSG, 0},
		{"", -EBADMSG, 0},
		{"soon", -EBADMSG, 0},
		/* `now` is Sun, 06 Nov 1994 08:49:37 GMT */
		{"Sun, 06 Nov 1994 08:50:37 GMT", 0, 60},
		{"Sun, 06 Nov 1994 08:00:00 GMT", 0, 0},
		{"Sun, 06 Nov 1994 08:50:37 PST", -EBADMSG, 0},
		{"Sun, 06 Nov 1994 08:50:37 GMT and more", -EBADMSG, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t seconds = 0;

		assert_int_equal(http_header_retry_after(cases[i].value, 784111777, &seconds),
				 cases[i].result);
		assert_true(seconds == cases[i].seconds);
	}
}

/* Each challenge as "scheme|realm|service|scope|error;". */
static void parses_challenges(void **state)
{
	static const struct {
		const char *value, *expected;
	} cases[] = {
		{"Bearer "
		 "realm=\"https://auth.docker.io/"
		 "token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull\"",
		 "bearer|https://auth.docker.io/token|registry.docker.io|repository:a/b:pull|;"},
		{"BASIC Realm = \"with \\\"quotes\\\", and a comma\"",
		 "basic|with \"quotes\", and a comma|||;"},
		{"Basic realm=a, Bearer realm=\"https://x/\", error=\"insufficient_scope\"",
		 "basic|a|||;bearer|https://x/|||insufficient_scope;"},
		{"Negotiate\nBasic realm=\"b\"", "negotiate||||;basic|b|||;"},
		{"Negotiate dG9rZW4=, Basic realm=\"b\"", "negotiate||||;basic|b|||;"},
		{"Bearer unknown=\"1\" , realm=https://x/y", "bearer|https://x/y|||;"},
		{"Digest realm=\"d\", nonce=\"n\", qop=\"auth\"", "digest|d|||;"},
		{",, Basic realm=\"b\",,", "basic|b|||;"},
		{"Basic", "basic||||;"},
		{"", ""},
		{"\"Bearer\" realm=\"x\"", ""},
		{"Bearer realm=\"not closed", "bearer||||;"},
		{"Bearer realm=\"ends in backslash\\", "bearer||||;"},
		{"Bearer realm=", "bearer||||;"},
		{"Bearer;realm=\"x\"", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *at = cases[i].value;
		struct http_challenge c;
		char got[4096] = "";

		while (http_header_challenge(&at, &c) == 0)
			snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s|%s|%s|%s|%s;",
				 c.scheme, c.realm, c.service, c.scope, c.error);
		assert_string_equal(got, cases[i].expected);
	}
}

static void refuses_a_realm_too_long_to_be_one(void **state)
{
	char value[4096] = "Bearer realm=\"";
	const char *at = value;
	struct http_challenge c;

	(void)state;
	memset(value + strlen(value), 'x', 2000);
	strcat(value, "\"");
	assert_int_equal(http_header_challenge(&at, &c), 0);
	assert_string_equal(c.realm, "");
}

static void finds_the_next_link(void **state)
{
	static const struct {
		const char *value;
		int result;
		const char *next;
	} cases[] = {
		{"</v2/a/tags?n=1>; rel=\"next\"", 0, "/v2/a/tags?n=1"},
		{"<a>;rel=next", 0, "a"},
		{"<a>; rel=\"prev\", <b> ; title=\"x, y; z\" ; rel=\"last Next\"", 0, "b"},
		{"<a,b>; rel=next", 0, "a,b"},
		{"<>; rel=next", 0, ""},
		{"<a>; rel=\"nextlike\"", -ENOENT, ""},
		{"<a>", -ENOENT, ""},
		{"", -ENOENT, ""},
		{"<a; rel=next", -EBADMSG, ""},
		{"a; rel=next", -EBADMSG, ""},
		{"<a> rel=next", -EBADMSG, ""},
		{"<a>; rel=\"next", -EBADMSG, ""},
		{"<a>; =next", -EBADMSG, ""},
		{"<0123456789012345>; rel=next", -EBADMSG, ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char next[16] = "";

		assert_int_equal(http_header_link_next(cases[i].value, next, sizeof(next)), cases[i].result);
		assert_string_equal(next, cases[i].next);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_content_ranges),
		cmocka_unit_test(parses_retry_after),
		cmocka_unit_test(parses_challenges),
		cmocka_unit_test(finds_the_next_link),
		cmocka_unit_test(refuses_a_realm_too_long_to_be_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
