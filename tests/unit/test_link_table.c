/* link_table gives back what was added, and refuses bytes that lie. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/limits.h"
#include "format/link_table.h"

#define FILES_OFF 24u
#define FILE_SIZE 56u

static const struct link_facts program = {
	.interpreter = "/lib64/ld.so",
	.run_path = "$ORIGIN/../lib",
	.needed = {"liba.so", "libc.so.6"},
	.n_needed = 2,
	.paths = {"/etc/conf"},
	.n_paths = 1,
	.head = {.loads = {{.off = 0, .size = 100}, {.off = 4096, .size = 50, .writable = true}}, .n_loads = 2, .unwind = {60, 40}},
	.dynamic = {.tables_end = 33},
};
static const struct link_facts library = {.needed = {"libc.so.6"}, .n_needed = 1};
static const struct link_facts script = {.script = true, .interpreter = "/bin/sh"};

static void make(struct bytes *ret)
{
	_cleanup_(link_table_builder_free) struct link_table_builder b = {0};

	assert_int_equal(link_table_add(&b, 512, &program), 0);
	assert_int_equal(link_table_add(&b, 9000, &library), 0);
	assert_int_equal(link_table_add(&b, 10000, &script), 0);
	assert_int_equal(link_table_finish(&b, ret), 0);
}

static void same_text(const char *a, const char *b)
{
	assert_int_equal(a == NULL, b == NULL);
	if (a)
		assert_string_equal(a, b);
}

static void same(const struct link_table *t, uint64_t off, const struct link_facts *want)
{
	struct link_facts f;

	assert_true(link_table_find(t, off, &f));
	assert_int_equal(f.script, want->script);
	same_text(f.interpreter, want->interpreter);
	same_text(f.run_path, want->run_path);
	assert_int_equal(f.n_needed, want->n_needed);
	for (size_t i = 0; i < f.n_needed; i++)
		assert_string_equal(f.needed[i], want->needed[i]);
	assert_int_equal(f.n_paths, want->n_paths);
	for (size_t i = 0; i < f.n_paths; i++)
		assert_string_equal(f.paths[i], want->paths[i]);
	assert_int_equal(f.head.n_loads, want->head.n_loads);
	for (size_t i = 0; i < f.head.n_loads; i++) {
		assert_int_equal(f.head.loads[i].off, want->head.loads[i].off);
		assert_int_equal(f.head.loads[i].size, want->head.loads[i].size);
		assert_int_equal(f.head.loads[i].writable, want->head.loads[i].writable);
	}
	assert_int_equal(f.head.unwind.off, want->head.unwind.off);
	assert_int_equal(f.head.unwind.size, want->head.unwind.size);
	assert_int_equal(f.dynamic.tables_end, want->dynamic.tables_end);
}

static void gives_back_what_was_added(void **state)
{
	_cleanup_(bytes_free) struct bytes b = {0}, again = {0};
	_cleanup_(link_table_free) struct link_table *t = NULL;
	struct link_facts f;

	(void)state;
	make(&b);
	assert_int_equal(link_table_load(b.data, b.size, &t), 0);
	assert_int_equal(link_table_count(t), 3);
	same(t, 512, &program);
	same(t, 9000, &library);
	same(t, 10000, &script);
	assert_false(link_table_find(t, 0, &f));
	assert_false(link_table_find(t, 513, &f));
	assert_false(link_table_find(t, 10001, &f));
	make(&again);
	assert_int_equal(b.size, again.size);
	assert_memory_equal(b.data, again.data, b.size);
}

static void of_nothing(void **state)
{
	_cleanup_(link_table_builder_free) struct link_table_builder b = {0};
	_cleanup_(bytes_free) struct bytes bytes = {0};
	_cleanup_(link_table_free) struct link_table *t = NULL;
	struct link_facts f;

	(void)state;
	assert_int_equal(link_table_finish(&b, &bytes), 0);
	assert_int_equal(link_table_load(bytes.data, bytes.size, &t), 0);
	assert_false(link_table_find(t, 0, &f));
}

static void refuses_what_is_wrong(void **state)
{
	static const struct {
		const char *what;
		size_t off, size;
		uint64_t value;
		int error;
	} cases[] = {
		{"magic", 0, 1, 'x', -EBADMSG},
		{"more files", 8, 4, 4, -EBADMSG},
		{"too many files", 8, 4, UINT32_MAX, -EFBIG},
		{"more segments", 12, 4, 3, -EBADMSG},
		{"more names", 16, 4, UINT32_MAX, -EBADMSG},
		{"no texts", 20, 4, 0, -EBADMSG},
		{"files that do not ascend", FILES_OFF + FILE_SIZE, 8, 512, -EBADMSG},
		{"an interpreter outside", FILES_OFF + 32, 4, 10000, -EBADMSG},
		{"a run path outside", FILES_OFF + 36, 4, UINT32_MAX, -EBADMSG},
		{"segments outside", FILES_OFF + 40, 4, 1, -EBADMSG},
		{"segments far outside", FILES_OFF + 40, 4, UINT32_MAX, -EBADMSG},
		{"names outside", FILES_OFF + 2 * FILE_SIZE + 44, 4, 5, -EBADMSG},
		{"many segments", FILES_OFF + 48, 1, 255, -EBADMSG},
		{"many names", FILES_OFF + 49, 1, 255, -EBADMSG},
		{"many paths", FILES_OFF + 51, 1, 65, -EBADMSG},
		{"neither script nor program", FILES_OFF + 50, 1, 2, -EBADMSG},
		{"a name outside", FILES_OFF + 3 * FILE_SIZE + 2 * 24, 4, 10000, -EBADMSG},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_(bytes_free) struct bytes b = {0};
		struct link_table *t = NULL;

		make(&b);
		memcpy(b.data + cases[i].off, &cases[i].value, cases[i].size);
		if (link_table_load(b.data, b.size, &t) != cases[i].error)
			fail_msg("%s", cases[i].what);
	}
}

static void refuses_long_texts(void **state)
{
	_cleanup_(link_table_builder_free) struct link_table_builder b = {0};
	_cleanup_(bytes_free) struct bytes bytes = {0};
	struct link_table *t = NULL;
	char text[LINK_NAME_MAX + 2] = {0};

	(void)state;
	memset(text, 'x', LINK_NAME_MAX);
	assert_int_equal(link_table_add(&b, 0, &(struct link_facts){.script = true, .interpreter = text}), 0);
	assert_int_equal(bytes_append(&b.texts, "second", 7), 0);
	assert_int_equal(link_table_finish(&b, &bytes), 0);
	assert_int_equal(link_table_load(bytes.data, bytes.size, &t), 0);
	link_table_free(&t);
	bytes.data[bytes.size - 8] = '-'; /* the first one's end */
	assert_int_equal(link_table_load(bytes.data, bytes.size, &t), -EBADMSG);
}

/* What does not fit is left out, and what is there is a table. */
static void stays_below_its_limit(void **state)
{
	_cleanup_(link_table_builder_free) struct link_table_builder b = {0};
	_cleanup_(bytes_free) struct bytes bytes = {0};
	_cleanup_(link_table_free) struct link_table *t = NULL;
	const struct link_facts same_script = {.script = true, .interpreter = "/bin/sh"};
	struct link_table *none = NULL;
	char text[LINK_NAME_MAX + 1] = {0};
	struct link_facts f;
	size_t n = 0;

	(void)state;
	for (; n < 2 * LIMIT_LINK_TABLE_SIZE / LINK_NAME_MAX; n++) {
		memset(text, 'x', LINK_NAME_MAX);
		text[snprintf(text, sizeof(text), "%zu", n)] = 'x';
		assert_int_equal(link_table_add(&b, 2 * n, &(struct link_facts){.script = true, .interpreter = text}), 0);
		assert_int_equal(link_table_add(&b, 2 * n + 1, &same_script), 0);
	}
	assert_int_equal(link_table_finish(&b, &bytes), 0);
	assert_true(bytes.size <= LIMIT_LINK_TABLE_SIZE && bytes.size > LIMIT_LINK_TABLE_SIZE / 2);
	assert_int_equal(link_table_load(bytes.data, bytes.size, &t), 0);
	assert_true(link_table_find(t, 0, &f) && strncmp(f.interpreter, "0x", 2) == 0);
	same(t, 1, &same_script);
	same(t, 2001, &same_script);
	assert_false(link_table_find(t, 2 * n - 1, &f));
	assert_int_equal(bytes_reserve(&bytes, LIMIT_LINK_TABLE_SIZE), 0);
	assert_int_equal(link_table_load(bytes.data, LIMIT_LINK_TABLE_SIZE + 1, &none), -EFBIG);
}

static void refuses_other_sizes_and_texts_without_end(void **state)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	struct link_table *t = NULL;

	(void)state;
	make(&b);
	for (size_t n = 0; n < b.size; n++)
		assert_int_equal(link_table_load(b.data, n, &t), -EBADMSG);
	b.data[b.size - 1] = 'x';
	assert_int_equal(link_table_load(b.data, b.size, &t), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_back_what_was_added),
		cmocka_unit_test(of_nothing),
		cmocka_unit_test(refuses_what_is_wrong),
		cmocka_unit_test(refuses_long_texts),
		cmocka_unit_test(stays_below_its_limit),
		cmocka_unit_test(refuses_other_sizes_and_texts_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
