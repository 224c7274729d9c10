/* image_config takes what docker and OCI tools write, nulls included, and nothing that lies about its type. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/report.h" /* before cmocka.h, which makes fail() a macro */
#include "format/image_config.h"

#include <cmocka.h>

#define ID "\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\""
#define ROOTFS "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[" ID "]}"
#define CONFIG(fields) "{\"config\":{" fields "}," ROOTFS "}"

static int parse(const char *text, size_t size, struct image_config **ret, char said[REPORT_TEXT_SIZE])
{
	int r;

	report_capture(said);
	r = image_config_parse(text, size, "app:1", ret);
	report_capture(NULL);
	return r;
}

static void assert_list(char **list, const char *joined)
{
	char text[1000] = "";

	for (; *list; list++) {
		strcat(text, *list);
		strcat(text, "|");
	}
	assert_string_equal(text, joined);
}

static void reads_every_field(void **state)
{
	static const char text[] =
		"{\"created\":\"2024-01-01T00:00:00Z\",\"architecture\":\"arm\",\"variant\":\"v7\",\"os\":\"linux\","
		"\"config\":{\"User\":\"1000:audio\",\"ExposedPorts\":{\"80/tcp\":{}},\"Env\":[\"PATH=/bin\",\"A=\",\"B=x=y\"],"
		"\"Entrypoint\":[\"/bin/sh\",\"-c\"],\"Cmd\":[\"echo\",\"\"],\"Volumes\":{\"/data\":{},\"/x\":null},"
		"\"WorkingDir\":\"/srv\",\"Labels\":{\"k\":\"v\",\"n\":null,\"e\":\"\"},\"StopSignal\":\"SIGINT\"},"
		"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[" ID "," ID "]},\"history\":[{\"created_by\":\"x\"}]}";
	char said[REPORT_TEXT_SIZE], platform[128];
	struct image_config *c = NULL;

	(void)state;
	assert_int_equal(parse(text, strlen(text), &c, said), 0);
	assert_string_equal(platform_text(&c->platform, platform), "linux/arm/v7");
	assert_list(c->env, "PATH=/bin|A=|B=x=y|");
	assert_list(c->entrypoint, "/bin/sh|-c|");
	assert_list(c->cmd, "echo||");
	assert_list(c->volumes, "/data|/x|");
	assert_list(c->exposed_ports, "80/tcp|");
	assert_list(c->labels, "k|v|n||e||");
	assert_string_equal(c->user, "1000:audio");
	assert_string_equal(c->working_dir, "/srv");
	assert_string_equal(c->stop_signal, "SIGINT");
	assert_string_equal(c->created, "2024-01-01T00:00:00Z");
	assert_int_equal(c->n_diff_ids, 2);
	assert_true(digest_equal(&c->diff_ids[0], &c->diff_ids[1]));
	image_config_free(&c);
	assert_null(c);
}

static void tolerates_what_is_absent(void **state)
{
	static const char *const cases[] = {
		"{" ROOTFS "}",
		"{\"config\":null," ROOTFS "}",
		"{\"config\":{}," ROOTFS "}",
		CONFIG("\"Env\":null,\"Cmd\":null,\"Entrypoint\":null,\"Volumes\":null,\"Labels\":null,\"User\":null,"
		       "\"WorkingDir\":null,\"StopSignal\":null,\"ExposedPorts\":null"),
		CONFIG("\"Env\":[],\"Volumes\":{},\"User\":\"\""),
		"{\"os\":null,\"created\":null,\"container_config\":7," ROOTFS "}",
		"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":null}}",
		"{\"rootfs\":{}}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char said[REPORT_TEXT_SIZE];
		struct image_config *c = NULL;

		if (parse(cases[i], strlen(cases[i]), &c, said) != 0)
			fail_msg("case %zu: %s", i, said);
		assert_list(c->env, "");
		assert_list(c->labels, "");
		assert_string_equal(c->user, "");
		assert_string_equal(c->stop_signal, "");
		assert_string_equal(c->platform.os, "");
		image_config_free(&c);
	}
}

static void takes_a_command_that_is_one_text(void **state)
{
	static const char text[] = CONFIG("\"Entrypoint\":\"/bin/x y\"");
	char said[REPORT_TEXT_SIZE];
	struct image_config *c = NULL;

	(void)state;
	assert_int_equal(parse(text, strlen(text), &c, said), 0);
	assert_list(c->entrypoint, "/bin/x y|");
	image_config_free(&c);
}

static void refuses_and_says_why(void **state)
{
	static const struct {
		const char *text;
		int result;
		const char *said;
	} cases[] = {
		{"", -EBADMSG, "not a JSON object"},
		{"[]", -EBADMSG, "not a JSON object"},
		{"{}", -EBADMSG, "no rootfs"},
		{"{\"rootfs\":[]}", -EBADMSG, "no rootfs"},
		{"{\"rootfs\":{\"type\":\"other\"}}", -EBADMSG, "rootfs.type"},
		{"{\"rootfs\":{\"diff_ids\":{}}}", -EBADMSG, "rootfs.diff_ids"},
		{"{\"rootfs\":{\"diff_ids\":[null]}}", -EBADMSG, "diffID 1"},
		{"{\"rootfs\":{\"diff_ids\":[" ID ",\"sha256:0\"]}}", -EBADMSG, "diffID 2"},
		{"{\"rootfs\":{\"diff_ids\":[\"../../x\"]}}", -EBADMSG, "diffID 1"},
		{"{\"config\":[]," ROOTFS "}", -EBADMSG, "config"},
		{"{\"os\":7," ROOTFS "}", -EBADMSG, "field os"},
		{"{\"architecture\":\"12345678901234567890123456789012\"," ROOTFS "}", -EBADMSG, "field architecture"},
		{CONFIG("\"Env\":{}"), -EBADMSG, "field Env"},
		{CONFIG("\"Env\":[1]"), -EBADMSG, "field Env"},
		{CONFIG("\"Env\":[null]"), -EBADMSG, "field Env"},
		{CONFIG("\"Env\":[\"A=b\\u0000c\"]"), -EBADMSG, "field Env"},
		{CONFIG("\"Cmd\":[\"a\\u0000\"]"), -EBADMSG, "field Cmd"},
		{CONFIG("\"User\":\"root\\u0000x\""), -EBADMSG, "field User"},
		{CONFIG("\"User\":0"), -EBADMSG, "field User"},
		{CONFIG("\"Labels\":{\"a\":1}"), -EBADMSG, "field Labels"},
		{CONFIG("\"Volumes\":[]"), -EBADMSG, "field Volumes"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char said[REPORT_TEXT_SIZE];
		struct image_config *c = NULL;
		int r = parse(cases[i].text, strlen(cases[i].text), &c, said);

		if (r != cases[i].result || !strstr(said, cases[i].said) || !strstr(said, "app:1"))
			fail_msg("case %zu gave %d: %s", i, r, said);
		assert_null(c);
	}
}

static int parse_many(const char *head, const char *element, size_t n, const char *tail)
{
	char said[REPORT_TEXT_SIZE];
	struct image_config *c = NULL;
	struct bytes b = {0};
	int r;

	assert_int_equal(bytes_printf(&b, "%s", head), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(bytes_printf(&b, "%s%s", i ? "," : "", element), 0);
	assert_int_equal(bytes_printf(&b, "%s", tail), 0);
	r = parse((const char *)b.data, b.size, &c, said);
	image_config_free(&c);
	bytes_free(&b);
	return r;
}

static int parse_text_of(size_t size)
{
	char *text = malloc(size + 1);
	int r;

	memset(text, 'a', size);
	text[size] = '\0';
	r = parse_many("{\"config\":{\"User\":\"", text, 1, "\"}," ROOTFS "}");
	free(text);
	return r;
}

static void holds_the_limits(void **state)
{
	(void)state;
	assert_int_equal(parse_many("{\"config\":{\"Env\":[", "\"A=\"", LIMIT_CONFIG_ENTRIES, "]}," ROOTFS "}"), 0);
	assert_int_equal(parse_many("{\"config\":{\"Env\":[", "\"A=\"", LIMIT_CONFIG_ENTRIES + 1, "]}," ROOTFS "}"), -EFBIG);
	assert_int_equal(parse_many("{\"rootfs\":{\"diff_ids\":[", ID, LIMIT_LAYERS, "]}}"), 0);
	assert_int_equal(parse_many("{\"rootfs\":{\"diff_ids\":[", ID, LIMIT_LAYERS + 1, "]}}"), -EFBIG);
	assert_int_equal(parse_text_of(LIMIT_CONFIG_TEXT_SIZE), 0);
	assert_int_equal(parse_text_of(LIMIT_CONFIG_TEXT_SIZE + 1), -EFBIG);
	assert_int_equal(parse_text_of(LIMIT_CONFIG_SIZE), -EFBIG);
	assert_int_equal(parse_many("{\"x\":[", "{}", LIMIT_JSON_VALUES, "]}"), -EFBIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_every_field),
		cmocka_unit_test(tolerates_what_is_absent),
		cmocka_unit_test(takes_a_command_that_is_one_text),
		cmocka_unit_test(refuses_and_says_why),
		cmocka_unit_test(holds_the_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
