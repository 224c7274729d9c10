/* reference reads names exactly as docker does, and says what to write instead of a wrong one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/report.h" /* before cmocka.h, which makes fail() a macro */
#include "format/reference.h"

#include <cmocka.h>

#define HEX64 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define D256 "sha256:" HEX64
#define D512 "sha512:" HEX64 HEX64
#define X16 "xxxxxxxxxxxxxxxx"
#define X128 X16 X16 X16 X16 X16 X16 X16 X16

static void reads_names_as_docker_does(void **state)
{
	static const struct {
		const char *text, *canonical;
	} cases[] = {
		{"debian", "docker.io/library/debian:latest"},
		{"debian:12", "docker.io/library/debian:12"},
		{"a/b", "docker.io/a/b:latest"},
		{"a/b/c:t", "docker.io/a/b/c:t"},
		{"docker.io/debian", "docker.io/library/debian:latest"},
		{"docker.io/library/debian", "docker.io/library/debian:latest"},
		{"index.docker.io/debian", "docker.io/library/debian:latest"},
		{"index.docker.io/a/b", "docker.io/a/b:latest"},
		{"Docker.IO/debian", "docker.io/library/debian:latest"},
		{"docker://debian:12", "docker.io/library/debian:12"},
		{"docker://quay.io/a/b@" D256, "quay.io/a/b@" D256},
		{"localhost/x", "localhost/x:latest"},
		{"localhost:5000/a/b:tag", "localhost:5000/a/b:tag"},
		{"localhost:5000", "docker.io/library/localhost:5000"},
		{"localhost", "docker.io/library/localhost:latest"},
		{"quay.io", "docker.io/library/quay.io:latest"},
		{"quay.io/x", "quay.io/x:latest"},
		{"REG.example/x", "reg.example/x:latest"},
		{"127.0.0.1:5000/x:1", "127.0.0.1:5000/x:1"},
		{"[::1]:5000/x", "[::1]:5000/x:latest"},
		{"[2001:DB8::1]/x/y:t", "[2001:db8::1]/x/y:t"},
		{"[::ffff:1.2.3.4]/x", "[::ffff:1.2.3.4]/x:latest"},
		{"host:65535/x", "host:65535/x:latest"},
		{"a-b.c--d.e1:1/x", "a-b.c--d.e1:1/x:latest"},
		{"debian@" D256, "docker.io/library/debian@" D256},
		{"debian:12@" D256, "docker.io/library/debian:12@" D256},
		{"h:1/a:T_.-9@" D512, "h:1/a:T_.-9@" D512},
		{"a.b_c__d-e--f---g", "docker.io/library/a.b_c__d-e--f---g:latest"},
		{"x:_t", "docker.io/library/x:_t"},
		{"x:" X128, "docker.io/library/x:" X128},
		{"oci", "docker.io/library/oci:latest"},
		{"dir:latest", "docker.io/library/dir:latest"},
		{"oci:/a/b", "oci:/a/b"},
		{"oci:/a/b:t", "oci:/a/b:t"},
		{"oci:/a@b/c:t@" D256, "oci:/a@b/c:t@" D256},
		{"oci:/a/b@" D256, "oci:/a/b@" D256},
		{"oci:/a/b///", "oci:/a/b"},
		{"oci:/:t", "oci:/:t"},
		{"oci:/with space/\303\244:t", "oci:/with space/\303\244:t"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[LIMIT_PATH_SIZE + 512], again[LIMIT_PATH_SIZE + 512];
		struct reference ref;

		assert_int_equal(reference_parse(cases[i].text, &ref), 0);
		assert_string_equal(reference_text(&ref, text), cases[i].canonical);
		assert_int_equal(reference_parse(text, &ref), 0);
		assert_string_equal(reference_text(&ref, again), text);
	}
}

static void refuses_and_says_why(void **state)
{
	static const struct {
		const char *text, *said;
	} cases[] = {
		{"", "no image is named"},
		{"docker://", "no image is named"},
		{":tag", "no image is named"},
		{"@" D256, "no image is named"},
		{"Debian", "try \"debian\""},
		{"Foo/bar", "try \"foo/bar\""},
		{"quay.io/Foo/Bar:X", "try \"foo/bar\""},
		{"debian:", "no tag stands behind"},
		{"debian:-x", "tag \"-x\" is not allowed"},
		{"debian:a b", "tag \"a b\" is not allowed"},
		{"debian:.x", "tag \".x\" is not allowed"},
		{"x:" X128 "x", "has 129 characters"},
		{"debian@latest", "a tag goes behind ':'"},
		{"debian@", "a tag goes behind ':'"},
		{"debian@md5:d41d8cd98f00b204e9800998ecf8427e", "algorithm"},
		{"debian@sha256:12", "is not a digest"},
		{"debian@sha256:E3B0C44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		 "is not a digest"},
		{"debian@" D256 ":tag", "is not a digest"},
		{HEX64, "NAME@sha256:" HEX64},
		{"https://quay.io/x", "without \"https://\""},
		{"http://localhost:5000/x", "without \"http://\""},
		{"docker-archive:/tmp/x.tar", "docker-archive:"},
		{"dir:./x", "skopeo copy"},
		{"user:pw@host/x", "behind '@'"},
		{"a//b", "is empty"},
		{"a/", "is empty"},
		{"/a", "is empty"},
		{"quay.io/", "no image is named"},
		{"a/.b", "not allowed in a name"},
		{"a..b", "not allowed in a name"},
		{"a___b", "not allowed in a name"},
		{"a._b", "not allowed in a name"},
		{"a-", "not allowed in a name"},
		{"-a", "not allowed in a name"},
		{"_a", "not allowed in a name"},
		{"a/b c", "not allowed in a name"},
		{"../x", "not a host"},
		{"./x", "not a host"},
		{"-a.b/x", "not a host"},
		{"a-.b/x", "not a host"},
		{"a_b.c/x", "not a host"},
		{"a..b/x", "not a host"},
		{"a:b:1/x", "brackets"},
		{"::1/x", "brackets"},
		{"host:/x", "not a port"},
		{"host:x/y", "not a port"},
		{"host:0/y", "not a port"},
		{"host:65536/y", "not a port"},
		{"host:4294967297/y", "not a port"},
		{"[::1/x", "IPv6"},
		{"[]/x", "IPv6"},
		{"[::g]/x", "IPv6"},
		{"[fe80::1%eth0]/x", "IPv6"},
		{"[::1]5000/x", "stands ':' and a port"},
		{"[::1]:/x", "not a port"},
		{"\303\244", "not allowed in a name"},
		{"a\nb", "control character"},
		{"oci:", "no directory"},
		{"oci::t", "no directory"},
		{"oci:/a:", "no tag stands behind"},
		{"oci:/a:b/c", "tag \"b/c\" is not allowed"},
		{"oci:/a@sha256:1", "is not a digest"},
		{"oci:/a@sha256/:" HEX64, "must not hold"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char said[REPORT_TEXT_SIZE];
		struct reference ref;

		report_capture(said);
		assert_int_equal(reference_parse(cases[i].text, &ref), -EINVAL);
		report_capture(NULL);
		if (!strstr(said, cases[i].said))
			fail_msg("\"%s\" gave: %s", cases[i].text, said);
	}
}

static int parse_name_of(size_t size, const char *prefix)
{
	char text[LIMIT_REFERENCE_SIZE + 64], said[REPORT_TEXT_SIZE];
	struct reference ref;
	int r;

	memset(text, 'a', sizeof(text));
	memcpy(text, prefix, strlen(prefix));
	text[size] = '\0';
	report_capture(said);
	r = reference_parse(text, &ref);
	report_capture(NULL);
	return r;
}

static void holds_the_limits(void **state)
{
	char text[LIMIT_PATH_SIZE + 16], said[REPORT_TEXT_SIZE];
	struct reference ref;

	(void)state;
	assert_int_equal(parse_name_of(LIMIT_REPOSITORY_SIZE - 1, "h.x/"), 0);
	assert_int_equal(parse_name_of(LIMIT_REPOSITORY_SIZE, "h.x/"), 0);
	assert_int_equal(parse_name_of(LIMIT_REPOSITORY_SIZE + 1, "h.x/"), -EINVAL);
	assert_int_equal(parse_name_of(LIMIT_REPOSITORY_SIZE - 18, ""), 0);
	assert_int_equal(parse_name_of(LIMIT_REPOSITORY_SIZE - 17, ""), -EINVAL);
	assert_int_equal(parse_name_of(LIMIT_REFERENCE_SIZE + 1, ""), -EINVAL);

	memset(text, 'a', sizeof(text));
	memcpy(text, "oci:/", 5);
	text[4 + LIMIT_PATH_SIZE] = '\0';
	assert_int_equal(reference_parse(text, &ref), 0);
	text[4 + LIMIT_PATH_SIZE] = 'a';
	text[5 + LIMIT_PATH_SIZE] = '\0';
	report_capture(said);
	assert_int_equal(reference_parse(text, &ref), -EINVAL);
	report_capture(NULL);
}

static void makes_layout_paths_absolute(void **state)
{
	char here[4096], expected[4200];
	struct reference ref;

	(void)state;
	assert_non_null(getcwd(here, sizeof(here)));
	snprintf(expected, sizeof(expected), "%s/x/y", here);
	assert_int_equal(reference_parse("oci:x/y:1", &ref), 0);
	assert_int_equal(ref.kind, REFERENCE_LAYOUT);
	assert_string_equal(ref.path, expected);
	assert_string_equal(ref.tag, "1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_names_as_docker_does),
		cmocka_unit_test(refuses_and_says_why),
		cmocka_unit_test(holds_the_limits),
		cmocka_unit_test(makes_layout_paths_absolute),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
