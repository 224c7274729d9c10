/* referrers keeps what is a descriptor, once, and nothing of a list that is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef fail /* ours has another meaning */
#include "base/bytes.h"
#include "base/limits.h"
#include "base/report.h"
#include "fetch/referrers.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ONE "{\"digest\":\"sha256:" HEX "\",\"size\":7,\"mediaType\":\"m\",\"artifactType\":\"t\"," \
	    "\"annotations\":{\"a\":\"b\"}}"

static int parse(const char *text, const char *type, struct referrers *to)
{
	char error[REPORT_TEXT_SIZE], *before = report_capture(error);
	const char *const types[] = {"other", type, NULL};
	int r = referrers_parse(text, strlen(text), "x", type ? types : NULL, to);

	report_capture_again(before);
	return r;
}

static void keeps_descriptors(void **state)
{
	static const struct {
		const char *text, *type;
		int result;
		size_t n;
	} cases[] = {
		{"{\"manifests\":[]}", NULL, 0, 0},
		{"{\"manifests\":[" ONE "]}", NULL, 0, 1},
		{"{\"manifests\":[" ONE "," ONE "]}", "t", 0, 1},
		{"{\"manifests\":[" ONE "]}", "u", 0, 0},
		{"{\"manifests\":[{\"digest\":\"blake3:" HEX "\",\"size\":1}," ONE "]}", NULL, -EBADMSG, 0},
		{"{\"manifests\":[{\"digest\":\"sha256:ab\",\"size\":1}]}", NULL, -EBADMSG, 0},
		{"{\"manifests\":[{\"digest\":\"sha256:" HEX "\"}]}", NULL, -EBADMSG, 0},
		{"{\"manifests\":[" ONE ",7]}", NULL, -EBADMSG, 0},
		{"{\"manifests\":7}", NULL, -EBADMSG, 0},
		{"{}", NULL, -EBADMSG, 0},
		{"", NULL, -EBADMSG, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct referrers *l = calloc(1, sizeof(*l));
		int r = parse(cases[i].text, cases[i].type, l);

		/* What is no digest of ours may be passed over or refused: never kept. */
		if (i == 4 && r == 0)
			assert_int_equal(l->n, 1);
		else
			assert_int_equal(r, cases[i].result);
		if (i != 4)
			assert_int_equal(l->n, cases[i].n);
		if (l->n) {
			assert_string_equal(l->list[0].artifact_type, "t");
			assert_string_equal(referrers_annotation(&l->list[0], "a"), "b");
			assert_string_equal(referrers_annotation(&l->list[0], "c"), "");
		}
		referrers_free(&l);
	}
}

static void counts_them(void **state)
{
	(void)state;
	for (unsigned int n = LIMIT_REFERRERS - 1; n <= LIMIT_REFERRERS + 1; n++) {
		struct referrers *l = calloc(1, sizeof(*l));
		struct bytes b = {0};

		assert_int_equal(bytes_printf(&b, "{\"manifests\":["), 0);
		for (unsigned int i = 0; i < n; i++)
			assert_int_equal(bytes_printf(&b, "%s{\"digest\":\"sha256:%064x\",\"size\":1}", i ? "," : "", i), 0);
		assert_int_equal(bytes_printf(&b, "]}"), 0);
		assert_int_equal(bytes_terminate(&b), 0);
		assert_int_equal(parse((const char *)b.data, NULL, l), n <= LIMIT_REFERRERS ? 0 : -EFBIG);
		assert_int_equal(l->n, n <= LIMIT_REFERRERS ? n : 0);
		bytes_free(&b);
		referrers_free(&l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_descriptors),
		cmocka_unit_test(counts_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
