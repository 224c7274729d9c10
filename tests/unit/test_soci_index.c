/* A SOCI index says which zTOC is which layer's; one that is not clear about it is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h" /* before cmocka.h, which makes fail() a macro */
#include "format/soci_index.h"

#include <cmocka.h>

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C64 "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define CONFIG(version) "\"config\":{\"mediaType\":\"application/vnd.amazon.soci.index.v" version "+json\"}"
#define SUBJECT "\"subject\":{\"digest\":\"sha256:" A64 "\"}"
#define ZTOC(digest, size, layer) \
	"{\"mediaType\":\"application/octet-stream\",\"digest\":\"" digest "\",\"size\":" size ",\"annotations\":{\"com.amazon.soci.image-layer-digest\":\"" layer "\"}}"
#define ONE ZTOC("sha256:" B64, "77", "sha256:" C64)

static char text[REPORT_TEXT_SIZE];

static int parse(const char *json, size_t size, struct soci_index **ret)
{
	int r;

	text[0] = '\0';
	report_capture(text);
	r = soci_index_parse(json, size, "it", ret);
	report_capture(NULL);
	return r;
}

static void says_what_it_says(void **state)
{
	static const char *const texts[] = {
		"{" CONFIG("1") "," SUBJECT ",\"layers\":[" ONE "]}",
		"{" CONFIG("2") ",\"layers\":[{\"digest\":\"x\"},{\"annotations\":{}}," ONE ",{\"mediaType\":\"application/vnd."
		"amazon.soci.prefetch.v1+json\",\"digest\":\"sha256:" A64 "\",\"size\":7,\"annotations\":{\"com.amazon.soci."
		"image-layer-digest\":\"sha256:" C64 "\"}}," ONE "]}",
		"{\"artifactType\":\"" SOCI_INDEX_TYPE_2 "\",\"config\":{\"mediaType\":\"application/vnd.oci.empty.v1+json\"},"
		"\"layers\":[" ONE "]}",
	};
	static const unsigned int versions[] = {1, 2, 2};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		_cleanup_(soci_index_free) struct soci_index *s = NULL;
		struct digest layer, other;

		assert_int_equal(parse(texts[i], strlen(texts[i]), &s), 0);
		assert_int_equal(s->version, versions[i]);
		assert_int_equal(s->n_layers, 1);
		digest_parse("sha256:" C64, 71, &layer);
		digest_parse("sha256:" B64, 71, &other);
		assert_ptr_equal(soci_index_layer(s, &layer), &s->layers[0]);
		assert_null(soci_index_layer(s, &other));
		assert_true(digest_equal(&s->layers[0].ztoc, &other));
		assert_int_equal(s->layers[0].ztoc_size, 77);
		assert_int_equal(s->subject.algorithm, i == 0 ? DIGEST_SHA256 : DIGEST_NONE);
	}
}

static void refuses_what_is_not_clear(void **state)
{
	static const struct {
		const char *json;
		int error;
		const char *says;
	} cases[] = {
		{"[]", -EBADMSG, "JSON object"},
		{"{\"layers\":[]}", -EOPNOTSUPP, "no SOCI index"},
		{"{" CONFIG("3") ",\"layers\":[]}", -EOPNOTSUPP, "no SOCI index"},
		{"{" CONFIG("1") ",\"layers\":[" ONE "]}", -EBADMSG, "which image"},
		{"{" CONFIG("2") "}", -EBADMSG, "no list of zTOCs"},
		{"{" CONFIG("2") ",\"layers\":[" ONE "," ZTOC("sha256:" A64, "77", "sha256:" C64) "]}", -EBADMSG, "zTOC 2"},
		{"{" CONFIG("2") ",\"layers\":[" ZTOC("sha256:1", "77", "sha256:" C64) "]}", -EBADMSG, "zTOC 1"},
		{"{" CONFIG("2") ",\"layers\":[" ZTOC("sha256:" B64, "-1", "sha256:" C64) "]}", -EBADMSG, "zTOC 1"},
		{"{" CONFIG("2") ",\"layers\":[" ZTOC("sha256:" B64, "77", "") "]}", -EBADMSG, "zTOC 1"},
		{"{" CONFIG("2") ",\"layers\":[" ZTOC("sha256:" B64, "536870913", "sha256:" C64) "]}", -EFBIG, "larger"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_(soci_index_free) struct soci_index *s = NULL;

		assert_int_equal(parse(cases[i].json, strlen(cases[i].json), &s), cases[i].error);
		assert_non_null(strstr(text, cases[i].says));
	}
}

static int parse_many(size_t n)
{
	_cleanup_(soci_index_free) struct soci_index *s = NULL;
	_cleanup_(bytes_free) struct bytes b = {0};

	bytes_printf(&b, "{" CONFIG("2") ",\"layers\":[");
	for (size_t i = 0; i < n; i++)
		bytes_printf(&b, "%s{\"mediaType\":\"application/octet-stream\",\"digest\":\"sha256:" B64 "\",\"size\":1,\"annotations\":{\"com.amazon.soci."
				 "image-layer-digest\":\"sha256:%064zx\"}}", i ? "," : "", i);
	bytes_printf(&b, "]}");
	return parse((const char *)b.data, b.size, &s);
}

/* LIMIT_LAYERS */
static void at_and_above_the_limit(void **state)
{
	(void)state;
	assert_int_equal(parse_many(LIMIT_LAYERS), 0);
	assert_int_equal(parse_many(LIMIT_LAYERS + 1), -EFBIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_what_it_says),
		cmocka_unit_test(refuses_what_is_not_clear),
		cmocka_unit_test(at_and_above_the_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
