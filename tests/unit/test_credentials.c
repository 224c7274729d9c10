/* credentials looks where docker and podman leave their logins, in their order, and sends no more than needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h" /* before cmocka.h, which makes fail() a macro */
#include "fetch/credentials.h"

#include <cmocka.h>

static char top[] = "/tmp/lazyrun-credentials.XXXXXX";

/* Writes a file below the test's directory, making one directory for it. */
static void put(const char *path, const char *text, mode_t mode)
{
	char full[PATH_MAX];
	FILE *f;

	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(full, sizeof(full), "%s/%.*s", top, (int)(slash - path), path);
		mkdir(full, 0700);
	}
	snprintf(full, sizeof(full), "%s/%s", top, path);
	f = fopen(full, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(full, mode), 0);
}

static void set(const char *variable, const char *path)
{
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%s/%s", top, path);
	setenv(variable, full, 1);
}

static int setup(void **state)
{
	static const char *const variables[] = {
		"REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "SSL_CERT_FILE", "http_proxy", "HTTP_PROXY",
		"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"};

	(void)state;
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		unsetenv(variables[i]);
	strcpy(top, "/tmp/lazyrun-credentials.XXXXXX");
	if (!mkdtemp(top))
		return -1;
	set("HOME", "home");
	set("XDG_RUNTIME_DIR", "run");
	put("home/x", "", 0600);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return fd_remove_tree(AT_FDCWD, top);
}

/* The object as text, or what was said when it failed. */
static int get(const char *reference, const struct credentials_options *options, char out[static REPORT_TEXT_SIZE])
{
	static const struct credentials_options none;
	struct json_object *o = NULL;
	struct reference ref;
	int r;

	assert_int_equal(reference_parse(reference, &ref), 0);
	report_capture(out);
	r = credentials_access(&ref, options ? options : &none, &o);
	report_capture(NULL);
	if (r == 0)
		snprintf(out, REPORT_TEXT_SIZE, "%s", json_object_to_json_string_ext(o, JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_field_free(&o);
	return r;
}

static void assert_gives(const char *reference, const struct credentials_options *options, const char *part)
{
	char out[REPORT_TEXT_SIZE];
	int r = get(reference, options, out);

	if (r != 0 || !strstr(out, part))
		fail_msg("%s gave %d: %s", reference, r, out);
}

static void assert_refuses(const char *reference, const struct credentials_options *options, int result, const char *part)
{
	char out[REPORT_TEXT_SIZE];
	int r = get(reference, options, out);

	if (r != result || !strstr(out, part) || strstr(out, "SECRET"))
		fail_msg("%s gave %d: %s", reference, r, out);
}

static void is_anonymous_when_nothing_is_there(void **state)
{
	char out[REPORT_TEXT_SIZE];

	(void)state;
	assert_int_equal(get("quay.io/a", NULL, out), 0);
	assert_string_equal(out, "{ \"plain_http\": false, \"tls_verify\": true, \"proxy\": { } }");
	setenv("https_proxy", "http://p", 1);
	assert_int_equal(get("oci:/dir", &(struct credentials_options){.plain_http = true, .tls_no_verify = true}, out), 0);
	assert_string_equal(out, "{ \"plain_http\": true, \"tls_verify\": false }");
}

static void looks_in_order(void **state)
{
	const struct credentials_options authfile = {.authfile = top}, creds = {.creds = "me:pw:x"};
	struct credentials_options other = {0};
	char path[PATH_MAX];

	(void)state;
	put("home/.docker/config.json", "{\"auths\":{\"a.io\":{\"auth\":\"dTpkb2NrZXI=\"},\"b.io\":{\"auth\":\"dTpiYg==\"}}}", 0600);
	assert_gives("a.io/x", NULL, "{ \"a.io\": { \"username\": \"u\", \"password\": \"docker\" } }");
	put("home/.config/containers/auth.json", "{\"auths\":{\"a.io\":{\"auth\":\"dTpjb25maWc=\"}}}", 0600);
	assert_gives("a.io/x", NULL, "\"config\"");
	put("run/containers/auth.json", "{\"auths\":{\"a.io/x\":{\"auth\":\"dTpydW4=\"}}}", 0600);
	assert_gives("a.io/x", NULL, "{ \"a.io/x\": { \"username\": \"u\", \"password\": \"run\" } }");
	assert_gives("a.io/y", NULL, "\"config\"");
	assert_gives("b.io/y", NULL, "\"bb\"");
	put("only", "{\"auths\":{\"a.io\":{\"identitytoken\":\"tt\"}}}", 0600);
	set("REGISTRY_AUTH_FILE", "only");
	assert_gives("a.io/x", NULL, "{ \"a.io\": { \"identity_token\": \"tt\" } }");
	assert_gives("b.io/x", NULL, "\"proxy\": { } }");
	set("REGISTRY_AUTH_FILE", "missing");
	assert_gives("b.io/x", NULL, "\"proxy\": { } }");
	snprintf(path, sizeof(path), "%s/home/.docker/config.json", top);
	other.authfile = path;
	assert_gives("b.io/x", &other, "\"bb\"");
	assert_gives("a.io/x", &creds, "{ \"a.io\": { \"username\": \"me\", \"password\": \"pw:x\" } }");
	assert_refuses("a.io/x", &authfile, -EINVAL, "not a regular file");
	strcat(path, "x");
	assert_refuses("a.io/x", &other, -ENOENT, "--authfile names");
	assert_refuses("a.io/x", &(struct credentials_options){.creds = "SECRET"}, -EINVAL, "USER:PASSWORD");
}

static void follows_links_and_refuses_rubbish(void **state)
{
	char target[PATH_MAX], link[PATH_MAX];

	(void)state;
	put("dotfiles/config.json", "{\"auths\":{\"a.io\":{\"auth\":\"dTpsaW5r\"}}}", 0600);
	put("home/.docker/x", "", 0600);
	snprintf(target, sizeof(target), "%s/dotfiles/config.json", top);
	snprintf(link, sizeof(link), "%s/home/.docker/config.json", top);
	assert_int_equal(symlink(target, link), 0);
	assert_gives("a.io/x", NULL, "\"link\"");
	put("dotfiles/config.json", "SECRET", 0600);
	assert_refuses("a.io/x", NULL, -EBADMSG, "home/.docker/config.json is not a JSON object");
}

/* LIMIT_CREDENTIALS_SIZE */
static void a_file_may_be_a_mebibyte(void **state)
{
	static char text[LIMIT_CREDENTIALS_SIZE + 2];

	(void)state;
	memset(text, ' ', LIMIT_CREDENTIALS_SIZE);
	memcpy(text, "{\"auths\":{\"a.io\":{\"auth\":\"dTpsaW5r\"}}}", 38);
	put("run/containers/auth.json", text, 0600);
	assert_gives("a.io/x", NULL, "\"link\"");
	text[LIMIT_CREDENTIALS_SIZE] = ' ';
	put("run/containers/auth.json", text, 0600);
	assert_refuses("a.io/x", NULL, -EFBIG, "auth.json");
}

static void reads_proxies_and_certificates(void **state)
{
	char expected[PATH_MAX + 32];

	(void)state;
	setenv("HTTP_PROXY", "http://evil", 1);
	setenv("HTTPS_PROXY", "http://up", 1);
	setenv("https_proxy", "http://low", 1);
	setenv("ALL_PROXY", "", 1);
	setenv("NO_PROXY", "x,y", 1);
	put("ca.pem", "", 0600);
	set("SSL_CERT_FILE", "home/../ca.pem");
	put("home/.config/containers/certs.d/a.io:5000/ca.crt", "", 0600);
	assert_gives("a.io:5000/x", NULL, "\"proxy\": { \"https_proxy\": \"http://low\", \"no_proxy\": \"x,y\" }");
	snprintf(expected, sizeof(expected), "\"ca_file\": \"%s/ca.pem\"", top);
	assert_gives("a.io:5000/x", NULL, expected);
	snprintf(expected, sizeof(expected), "\"certs_dir\": \"%s/home/.config/containers/certs.d/a.io:5000\"", top);
	assert_gives("a.io:5000/x", NULL, expected);
	set("SSL_CERT_FILE", "gone.pem");
	assert_refuses("a.io/x", NULL, -ENOENT, "$SSL_CERT_FILE names");
}

static void asks_helpers(void **state)
{
	char path[PATH_MAX];

	(void)state;
	snprintf(path, sizeof(path), "%s/bin:/usr/bin:/bin", top);
	setenv("PATH", path, 1);
	put("run/containers/auth.json",
	    "{\"credHelpers\":{\"a.io\":\"good\",\"t.io\":\"token\",\"docker.io\":\"good\",\"n.io\":\"none\",\"b.io\":\"bad\","
	    "\"f.io\":\"failing\",\"m.io\":\"missing\",\"l.io\":\"long\"},\"auths\":{\"n.io\":{\"auth\":\"dTpmaWxl\"},\"z.io\":{}}}",
	    0600);
	put("bin/docker-credential-good",
	    "#!/bin/sh\n[ \"$1\" = get ] || exit 9\nread -r host\n"
	    "printf '{\"ServerURL\":\"%s\",\"Username\":\"%s\",\"Secret\":\"SECRET\"}\\n' \"$host\" \"$host\"\n", 0700);
	put("bin/docker-credential-token", "#!/bin/sh\necho '{\"Username\":\"<token>\",\"Secret\":\"idt\"}'\n", 0700);
	put("bin/docker-credential-none", "#!/bin/sh\necho 'credentials not found in native keychain'\nexit 1\n", 0700);
	put("bin/docker-credential-bad", "#!/bin/sh\necho SECRET\n", 0700);
	put("bin/docker-credential-failing", "#!/bin/sh\necho SECRET\nexit 3\n", 0700);
	put("bin/docker-credential-long", "#!/bin/sh\nyes SECRET\n", 0700);
	assert_gives("a.io/x/y", NULL, "{ \"a.io\": { \"username\": \"a.io\", \"password\": \"SECRET\" } }");
	assert_gives("debian", NULL, "{ \"docker.io\": { \"username\": \"https://index.docker.io/v1/\", \"password\"");
	assert_gives("t.io/x", NULL, "{ \"t.io\": { \"identity_token\": \"idt\" } }");
	assert_gives("n.io/x", NULL, "\"file\"");
	assert_refuses("b.io/x", NULL, -EBADMSG, "docker-credential-bad");
	assert_refuses("f.io/x", NULL, -EIO, "status 3");
	assert_refuses("l.io/x", NULL, -EFBIG, "docker-credential-long answered more");
	assert_refuses("m.io/x", NULL, -ENOENT, "docker-credential-missing for m.io");
	for (int above = -1; above <= 1; above++) { /* LIMIT_HELPER_OUTPUT_SIZE */
		char script[256];

		snprintf(script, sizeof(script), "#!/bin/sh\nprintf '%%-*s' %d '{\"Username\":\"u\",\"Secret\":\"s\"}'\n",
			 (int)LIMIT_HELPER_OUTPUT_SIZE + above);
		put("bin/docker-credential-long", script, 0700);
		if (above > 0)
			assert_refuses("l.io/x", NULL, -EFBIG, "docker-credential-long answered more");
		else
			assert_gives("l.io/x", NULL, "\"username\": \"u\"");
	}
	put("run/containers/auth.json", "{\"auths\":{\"z.io\":{}},\"credsStore\":\"good\"}", 0600);
	assert_gives("z.io/x", NULL, "{ \"z.io\": { \"username\": \"z.io\"");
	put("run/containers/auth.json", "{\"credsStore\":\"missing\"}", 0600);
	assert_gives("z.io/x", NULL, "\"proxy\": { } }");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(is_anonymous_when_nothing_is_there, setup, teardown),
		cmocka_unit_test_setup_teardown(looks_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(follows_links_and_refuses_rubbish, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_may_be_a_mebibyte, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_proxies_and_certificates, setup, teardown),
		cmocka_unit_test_setup_teardown(asks_helpers, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
