/* The request that a command sends, and how its answer is checked. The client is a stand-in below. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_field.h"
#include "base/report.h"
#include "cli/client.h"
#include "cli/ensure.h"

#include <cmocka.h> /* after report.h: it makes a macro of fail() */

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct {
	char request[4096];
	uint8_t remember[16];
	const char *answers[3]; /* the last one is the answer, the others are events */
	size_t next;
} fake;

int client_open(const struct store *s, int timeout, struct client **ret)
{
	(void)s;
	(void)timeout;
	*ret = (struct client *)&fake;
	return 0;
}

int client_open_running(const struct store *s, int timeout, struct client **ret)
{
	return client_open(s, timeout, ret);
}

void client_free(struct client **c)
{
	*c = NULL;
}

int client_send(struct client *c, struct json_object *request, const uint8_t *remember)
{
	(void)c;
	strncpy(fake.request, json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN |
								      JSON_C_TO_STRING_NOSLASHESCAPE),
		sizeof(fake.request) - 1);
	memcpy(fake.remember, remember, 16);
	return 0;
}

int client_receive(struct client *c, struct json_object **ret)
{
	const char *text = fake.answers[fake.next++];

	(void)c;
	assert_int_equal(json_field_parse(text, strlen(text), ret), 0);
	return fake.next < 3 && fake.answers[fake.next];
}

int client_request(struct client *c, struct json_object *request, const uint8_t *remember, struct json_object **ret)
{
	(void)c;
	(void)request;
	(void)remember;
	(void)ret;
	return -ENOSYS;
}

int credentials_access(const struct reference *ref, const struct credentials_options *options,
		       struct json_object **ret)
{
	(void)ref;
	*ret = json_object_new_object();
	json_object_object_add(*ret, "plain_http", json_object_new_boolean(options->plain_http));
	return 0;
}

static int ensure(const struct ensure_options *options, enum ensure_until until, const char *answer,
		  struct ensure_result **ret)
{
	const struct store store = {0};

	memset(&fake, 0, sizeof(fake));
	fake.answers[0] = "{\"event\":\"layer\",\"layer\":0,\"layers\":1,\"digest\":\"sha256:" HEX
			  "\",\"done\":1,\"total\":2,\"state\":\"present\"}";
	fake.answers[1] = answer;
	return ensure_image(&store, options, until, ret);
}

#define GOOD                                                                                       \
	"{\"errno\":0,\"reference\":\"docker.io/library/debian:12\",\"image_key\":\"0a\",\"manifest_digest\":"      \
	"\"sha256:" HEX "\",\"config_digest\":\"sha256:" HEX "\",\"fetched_bytes\":7,\"requests\":3,"               \
	"\"layers\":[{\"digest\":\"sha256:" HEX "\",\"diff_id\":\"sha256:" HEX "\",\"size\":9,\"media_type\":\"m\"," \
	"\"key\":\"k1\"}]}"

static void asks_for_what_the_user_wants(void **unused)
{
	const struct ensure_options options = {.image = "debian:12", .platform = "linux/arm64", .pull = "always",
					       .credentials = {.plain_http = true}};
	struct ensure_result *result;
	struct json_object *access;
	uint8_t key[16];

	(void)unused;
	assert_int_equal(ensure(&options, ENSURE_IMAGE, GOOD, &result), 0);
	assert_string_equal(fake.request,
			    "{\"op\":\"ensure\",\"reference\":\"docker.io/library/debian:12\",\"platform\":\"linux/arm64\","
			    "\"pull\":\"always\",\"until\":\"image\",\"progress\":true,\"access\":{\"plain_http\":true}}");
	ensure_remember_key(&result->reference, NULL, key);
	assert_memory_not_equal(fake.remember, key, 16);
	assert_int_equal(json_field_parse("{\"plain_http\":true}", strlen("{\"plain_http\":true}"), &access), 0);
	ensure_remember_key(&result->reference, access, key);
	json_object_put(access);
	assert_memory_equal(fake.remember, key, 16);
	assert_string_equal(result->image_key, "0a");
	assert_int_equal(result->fetched_bytes, 7);
	assert_int_equal(result->n_layers, 1);
	assert_int_equal(result->layers[0].size, 9);
	assert_string_equal(result->layers[0].key, "k1");
	ensure_result_free(&result);
	assert_null(result);
}

static void needs_less_of_a_manifest(void **unused)
{
	const struct ensure_options options = {.image = "debian:12"};
	struct ensure_result *result;

	(void)unused;
	assert_int_equal(ensure(&options, ENSURE_MANIFEST,
				"{\"manifest_digest\":\"sha256:" HEX "\",\"config_digest\":\"sha256:" HEX
				"\",\"layers\":[{\"digest\":\"sha256:" HEX "\",\"size\":1}]}",
				&result),
			 0);
	assert_non_null(strstr(fake.request, "\"pull\":\"missing\",\"until\":\"manifest\""));
	assert_string_equal(result->image_key, "");
	assert_string_equal(result->layers[0].key, "");
	assert_int_equal(result->layers[0].diff_id.algorithm, DIGEST_NONE);
	ensure_result_free(&result);
}

static void refuses_answers_that_lead_elsewhere(void **unused)
{
	static const struct {
		const char *field, *from, *to;
	} cases[] = {
		{"image_key", "\"0a\"", "\"../a\""},	   {"image_key", "\"0a\"", "\"..\""},
		{"image_key", "\"0a\"", "\"\""},	   {"key", "\"k1\"", "\"/etc\""},
		{"config_digest", "fig_digest", "fig"},	   {"manifest_digest", "\"sha256:", "\"sha255:"},
		{"layers", "\"layers\"", "\"layer\""},	   {"size", "\"size\":9", "\"size\":\"9\""},
		{"diff_id", "\"diff_id\"", "\"diff\""},
	};
	const struct ensure_options options = {.image = "debian:12", .quiet = true};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char answer[2048], text[REPORT_TEXT_SIZE], wanted[64];
		const char *at = strstr(GOOD, cases[i].from);
		struct ensure_result *result;

		assert_non_null(at);
		snprintf(answer, sizeof(answer), "%.*s%s%s", (int)(at - GOOD), GOOD, cases[i].to,
			 at + strlen(cases[i].from));
		snprintf(wanted, sizeof(wanted), "has no usable \"%s\"", cases[i].field);
		report_capture(text);
		assert_int_equal(ensure(&options, ENSURE_IMAGE, answer, &result), -EPROTO);
		report_capture(NULL);
		assert_non_null(strstr(text, wanted));
	}
}

static void refuses_options_before_asking(void **unused)
{
	static const struct ensure_options cases[] = {
		{.image = "debian", .pull = "sometimes"},
		{.image = "debian", .platform = "linux/"},
		{.image = "Debian!"},
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[REPORT_TEXT_SIZE];
		struct ensure_result *result;

		report_capture(text);
		assert_int_equal(ensure(&cases[i], ENSURE_IMAGE, GOOD, &result), -EINVAL);
		report_capture(NULL);
		assert_true(text[0]);
		assert_int_equal(fake.next, 0);
	}
}

static void remembers_by_repository(void **unused)
{
	struct reference a, b, c, d;
	uint8_t keys[4][16];
	const uint8_t zero[16] = {0};

	(void)unused;
	assert_int_equal(reference_parse("debian:12", &a), 0);
	assert_int_equal(reference_parse("debian:13", &b), 0);
	assert_int_equal(reference_parse("localhost/library/debian", &c), 0);
	assert_int_equal(reference_parse("oci:/library/debian", &d), 0);
	ensure_remember_key(&a, NULL, keys[0]);
	ensure_remember_key(&b, NULL, keys[1]);
	ensure_remember_key(&c, NULL, keys[2]);
	ensure_remember_key(&d, NULL, keys[3]);
	assert_memory_equal(keys[0], keys[1], 16);
	for (size_t i = 0; i < 4; i++) {
		assert_memory_not_equal(keys[i], zero, 16);
		for (size_t j = i + 1; j < 4; j++)
			if (j > 1)
				assert_memory_not_equal(keys[i], keys[j], 16);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asks_for_what_the_user_wants),
		cmocka_unit_test(needs_less_of_a_manifest),
		cmocka_unit_test(refuses_answers_that_lead_elsewhere),
		cmocka_unit_test(refuses_options_before_asking),
		cmocka_unit_test(remembers_by_repository),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
