/* auth_file finds the login for the longest path, in all ways that docker and podman have written it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h" /* before cmocka.h, which makes fail() a macro */
#include "fetch/auth_file.h"

#include <cmocka.h>

#define AUTHS(entries) "{\"auths\":{" entries "}}"
#define UP(key, base64) "\"" key "\":{\"auth\":\"" base64 "\"}"
/* base64 of user:one, user:two, user:three */
#define ONE "dXNlcjpvbmU="
#define TWO "dXNlcjp0d28="
#define THREE "dXNlcjp0aHJlZQ=="

static void finds_the_longest_path(void **state)
{
	static const char all[] = AUTHS(UP("quay.io", ONE) "," UP("quay.io/team", TWO) "," UP("quay.io/team/app", THREE));
	static const struct {
		const char *file, *reference, *key, *password;
	} cases[] = {
		{all, "quay.io/x", "quay.io", "one"},
		{all, "quay.io/teams/app", "quay.io", "one"},
		{all, "quay.io/team/other/deep", "quay.io/team", "two"},
		{all, "quay.io/team/app:1", "quay.io/team/app", "three"},
		{all, "quay.io/team/app/x", "quay.io/team/app", "three"},
		{all, "quay.io:443/team/app", NULL, NULL},
		{all, "debian", NULL, NULL},
		{AUTHS(UP("https://index.docker.io/v1/", ONE)), "debian", "docker.io", "one"},
		{AUTHS(UP("index.docker.io/v1/", ONE)), "a/b", "docker.io", "one"},
		{AUTHS(UP("docker.io", ONE)), "debian", "docker.io", "one"},
		{AUTHS(UP("docker.io/library", ONE)), "debian", "docker.io/library", "one"},
		{AUTHS(UP("docker.io/library", ONE)), "a/b", NULL, NULL},
		{AUTHS(UP("https://quay.io/v2/", ONE)), "quay.io/a/b", "quay.io", "one"},
		{AUTHS(UP("http://localhost:5000", ONE)), "localhost:5000/a", "localhost:5000", "one"},
		{AUTHS(UP("quay.io/", ONE)), "quay.io/a", "quay.io", "one"},
		{AUTHS(UP("[::1]:5000", ONE)), "[::1]:5000/a", "[::1]:5000", "one"},
		{AUTHS("\"quay.io/a\":{}," UP("quay.io", ONE)), "quay.io/a", "quay.io", "one"},
		{AUTHS("\"quay.io\":null"), "quay.io/a", NULL, NULL},
		{"{}", "quay.io/a", NULL, NULL},
		{"{\"auths\":null,\"credHelpers\":null,\"credsStore\":null}", "quay.io/a", NULL, NULL},
		{AUTHS("\"quay.io\":{\"username\":\"user\",\"password\":\"one\"}"), "quay.io/a", "quay.io", "one"},
		{AUTHS(UP("quay.io", "dXNlcjpvbmU")), "quay.io/a", "quay.io", "one"},	  /* not padded */
		{AUTHS(UP("quay.io", "dXNlcjpvbmUAAA==")), "quay.io/a", "quay.io", "one"}, /* NULs at the end */
		{AUTHS(UP("quay.io", "dXNlcjphOmI=")), "quay.io/a", "quay.io", "a:b"},
		{AUTHS(UP("quay.io", "dXNlcjo_Pz8-")), "quay.io/a", "quay.io", "?\?\?>"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct auth_found f = {0};
		struct reference ref;

		assert_int_equal(reference_parse(cases[i].reference, &ref), 0);
		assert_int_equal(auth_file_find(cases[i].file, strlen(cases[i].file), "auth.json", &ref, &f), 0);
		if (!f.key != !cases[i].key)
			fail_msg("case %zu found %s", i, f.key ? f.key : "nothing");
		if (f.key) {
			assert_string_equal(f.key, cases[i].key);
			assert_string_equal(f.username, "user");
			assert_string_equal(f.password, cases[i].password);
		}
		auth_file_free(&f);
	}
}

static void finds_tokens_and_helpers(void **state)
{
	static const char text[] = "{\"auths\":{\"quay.io\":{\"auth\":\"" ONE "\",\"identitytoken\":\"tok\"}},"
				   "\"credHelpers\":{\"https://gcr.io\":\"gcloud\",\"index.docker.io\":\"hub\"},"
				   "\"credsStore\":\"secretservice\"}";
	static const struct {
		const char *reference, *token, *helper;
	} cases[] = {{"quay.io/a", "tok", NULL}, {"gcr.io/a/b", NULL, "gcloud"}, {"debian", NULL, "hub"}, {"x.io/a", NULL, NULL}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct auth_found f = {0};
		struct reference ref;

		assert_int_equal(reference_parse(cases[i].reference, &ref), 0);
		assert_int_equal(auth_file_find(text, strlen(text), "auth.json", &ref, &f), 0);
		assert_string_equal(f.identity_token ? f.identity_token : "", cases[i].token ? cases[i].token : "");
		assert_string_equal(f.helper ? f.helper : "", cases[i].helper ? cases[i].helper : "");
		assert_string_equal(f.store, "secretservice");
		assert_null(f.password);
		auth_file_free(&f);
		assert_null(f.store);
	}
}

static void refuses_without_telling_secrets(void **state)
{
	static const char *const cases[] = {
		"",
		"SECRET",
		"[\"SECRET\"]",
		"{\"auths\":[\"SECRET\"]}",
		"{\"credHelpers\":\"SECRET\"}",
		"{\"credHelpers\":{\"quay.io\":7}}",
		"{\"credHelpers\":{\"quay.io\":\"../SECRET\"}}",
		"{\"credsStore\":\"/SECRET\"}",
		"{\"credsStore\":[]}",
		AUTHS("\"quay.io\":\"SECRET\""),
		AUTHS("\"quay.io\":{\"auth\":7}"),
		AUTHS("\"quay.io\":{\"auth\":\"SECRET\"}"), /* no colon in it */
		AUTHS("\"quay.io\":{\"auth\":\"SECRET!\"}"),
		AUTHS("\"quay.io\":{\"auth\":\"SECRE\"}"),
		AUTHS("\"quay.io\":{\"auth\":\"dTpzAHM=\"}"), /* a NUL in it */
		AUTHS("\"quay.io\":{\"auth\":\"\\u0000SECRET\"}"),
		AUTHS("\"quay.io\":{\"username\":\"SECRET\",\"password\":[]}"),
	};
	struct reference ref;

	(void)state;
	assert_int_equal(reference_parse("quay.io/a", &ref), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char said[REPORT_TEXT_SIZE];
		struct auth_found f = {0};
		int r;

		report_capture(said);
		r = auth_file_find(cases[i], strlen(cases[i]), "/x/auth.json", &ref, &f);
		report_capture(NULL);
		if (r != -EBADMSG || !strstr(said, "/x/auth.json") || strstr(said, "SECRET"))
			fail_msg("case %zu gave %d: %s", i, r, said);
		assert_null(f.key);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_longest_path),
		cmocka_unit_test(finds_tokens_and_helpers),
		cmocka_unit_test(refuses_without_telling_secrets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
