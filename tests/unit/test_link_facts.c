/* link_facts reads what this very program loads, and a script's interpreter, and survives files that end anywhere. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "format/link_facts.h"
#include "tests/unit/program_bytes.h"

static int read_all(struct bytes *b, struct link_facts *ret)
{
	int r = link_facts_head(read_bytes, b, ret);

	if (r == 0)
		r = link_facts_dynamic(read_bytes, b, ret);
	return r < 0 ? r : link_facts_names(read_bytes, b, ret);
}

static void reads_this_program(void **state)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	struct link_facts f;
	bool libc = false;

	(void)state;
	own_file(&b);
	assert_int_equal(read_all(&b, &f), 0);
	assert_false(f.script);
	assert_non_null(strstr(f.interpreter, "/ld-"));
	for (size_t i = 0; i < f.n_needed; i++)
		libc = libc || strcmp(f.needed[i], "libc.so.6") == 0;
	assert_true(libc);
	assert_true(f.head.n_loads > 1 && f.dynamic.tables_end > 0);
}

static void reads_scripts(void **state)
{
	static const struct {
		const char *text, *interpreter; /* NULL: refused */
	} cases[] = {{"#!/bin/sh\necho", "/bin/sh"}, {"#! /usr/bin/env python3", " /usr/bin/env python3"}, {"#!\n", NULL},
		     {"#!", NULL}, {"#", NULL}, {"text", NULL}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bytes b = {.data = (uint8_t *)cases[i].text, .size = strlen(cases[i].text)};
		struct link_facts f;

		assert_int_equal(link_facts_head(read_bytes, &b, &f), cases[i].interpreter ? 0 : -ENOEXEC);
		if (!cases[i].interpreter)
			continue;
		assert_true(f.script);
		assert_string_equal(f.interpreter, cases[i].interpreter);
		assert_int_equal(link_facts_dynamic(read_bytes, &b, &f), -ENOEXEC);
	}
}

/* Whatever is missing, texts are texts. */
static void survives_a_file_that_ends(void **state)
{
	_cleanup_(bytes_free) struct bytes b = {0};

	(void)state;
	own_file(&b);
	for (size_t n = b.size; n > 0; n -= n > 4096 ? n / 50 : 1) {
		_cleanup_(fd_free_memory) uint8_t *exact = malloc(n);
		struct bytes cut = {.data = exact, .size = n};
		struct link_facts f;

		memcpy(exact, b.data, n);
		if (link_facts_head(read_bytes, &cut, &f) < 0)
			continue;
		if (link_facts_dynamic(read_bytes, &cut, &f) == 0)
			(void)link_facts_names(read_bytes, &cut, &f);
		for (size_t i = 0; i < f.n_needed; i++)
			assert_true(strlen(f.needed[i]) > 0);
	}
}

static void keeps_each_path_once(void **state)
{
	struct link_facts f = {0};
	char path[32];
	size_t n = 0;

	(void)state;
	assert_true(link_facts_add_path(&f, "/etc/a"));
	assert_true(link_facts_add_path(&f, "/etc/a"));
	assert_int_equal(f.n_paths, 1);
	for (n = 0; snprintf(path, sizeof(path), "/etc/%zu", n), link_facts_add_path(&f, path); n++)
		;
	assert_int_equal(n, LINK_PATHS - 1);
	assert_string_equal(f.paths[0], "/etc/a");
	assert_string_equal(f.paths[LINK_PATHS - 1], "/etc/62");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_this_program),
		cmocka_unit_test(reads_scripts),
		cmocka_unit_test(survives_a_file_that_ends),
		cmocka_unit_test(keeps_each_path_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
