/* elf reads what this very program needs, and survives its being cut and changed. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "format/elf.h"
#include "tests/unit/program_bytes.h"

static void reads_this_program(void **state)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	struct elf_head h;
	struct elf_dynamic d;
	size_t writable = 0;
	bool libc = false;

	(void)state;
	own_file(&b);
	assert_int_equal(elf_parse_head(b.data, ELF_HEAD_SIZE, &h), 0);
	assert_true(h.interpreter.size > 1 && h.interpreter.off + h.interpreter.size <= b.size);
	assert_non_null(strstr((const char *)b.data + h.interpreter.off, "ld-"));
	assert_int_equal(elf_parse_dynamic(&h, b.data + h.dynamic.off, h.dynamic.size, &d), 0);
	for (size_t i = 0; i < d.n_needed; i++) {
		assert_true(d.needed[i] < b.size);
		libc = libc || strstr((const char *)b.data + d.needed[i], "libc.so") == (const char *)b.data + d.needed[i];
	}
	assert_true(libc);
	assert_true(d.tables_end > 0 && d.tables_end < b.size);
	for (size_t i = 0; i < h.n_loads; i++)
		writable += h.loads[i].writable && h.loads[i].off + h.loads[i].size <= b.size;
	assert_int_equal(writable, 1);
	assert_true(h.unwind.size > 0 && h.unwind.off > d.tables_end && h.unwind.off + h.unwind.size < h.dynamic.off);
}

static void leaves_the_unwind_tables_out(void **state)
{
	static const struct {
		struct elf_range unwind, want[2];
	} cases[] = {
		{{0, 0}, {{0, 100}, {100, 0}}},
		{{60, 30}, {{0, 60}, {90, 10}}},
		{{60, 40}, {{0, 60}, {100, 0}}},
		{{60, 41}, {{0, 100}, {100, 0}}},
		{{UINT64_MAX, 1}, {{0, 100}, {100, 0}}},
		{{1, UINT64_MAX}, {{0, 100}, {100, 0}}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct elf_range used[2];

		elf_used(&(struct elf_head){.unwind = cases[i].unwind}, 100, used);
		assert_memory_equal(used, cases[i].want, sizeof(used));
	}
}

/* As Go's linker makes them. */
static void without_unwind_tables(void **state)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	struct elf_head h;

	(void)state;
	own_file(&b);
	for (size_t at = 64; at + 56 <= 64 + 56 * (size_t)b.data[56]; at += 56) {
		const uint32_t type = PT_GNU_EH_FRAME, none = PT_NULL;

		if (memcmp(b.data + at, &type, sizeof(type)) == 0)
			memcpy(b.data + at, &none, sizeof(none));
	}
	assert_int_equal(elf_parse_head(b.data, ELF_HEAD_SIZE, &h), 0);
	assert_true(h.n_loads > 1);
	assert_int_equal(h.unwind.size, 0);
}

static void refuses_what_is_cut(void **state)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	struct elf_head h;

	(void)state;
	own_file(&b);
	for (size_t n = 0; n < 64; n++)
		assert_int_equal(elf_parse_head(b.data, n, &h), -ENOEXEC);
	b.data[5] = 2; /* big-endian */
	assert_int_equal(elf_parse_head(b.data, ELF_HEAD_SIZE, &h), -ENOEXEC);
	b.data[0] = '#';
	assert_int_equal(elf_parse_head(b.data, ELF_HEAD_SIZE, &h), -ENOEXEC);
}

static void finds_in_the_cache(void **state)
{
	static const char texts[] = "libb.so.1\0/lib/libb.so.1\0liba.so\0/lib/hw/liba.so\0/lib/liba.so";
	uint8_t data[48 + 3 * 24 + sizeof(texts)] = "glibc-ld.so.cache1.1";
	const uint32_t texts_off = 48 + 3 * 24, n = 3;
	const struct {
		uint32_t key, value;
		uint64_t hardware;
	} entries[] = {{0, 10, 0}, {25, 33, 5}, {25, 49, 0}};

	(void)state;
	memcpy(data + 20, &n, 4);
	for (size_t i = 0; i < 3; i++) {
		uint32_t key = texts_off + entries[i].key, value = texts_off + entries[i].value;

		memcpy(data + 48 + 24 * i + 4, &key, 4);
		memcpy(data + 48 + 24 * i + 8, &value, 4);
		memcpy(data + 48 + 24 * i + 16, &entries[i].hardware, 8);
	}
	memcpy(data + texts_off, texts, sizeof(texts));
	assert_string_equal(elf_cache_find(data, sizeof(data), "libb.so.1"), "/lib/libb.so.1");
	assert_string_equal(elf_cache_find(data, sizeof(data), "liba.so"), "/lib/liba.so");
	assert_null(elf_cache_find(data, sizeof(data), "libc.so.6"));
	for (size_t i = 0; i < sizeof(data); i++)
		elf_cache_find(data, i, "liba.so"); /* whatever it says, it reads no further */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_this_program),
		cmocka_unit_test(leaves_the_unwind_tables_out),
		cmocka_unit_test(without_unwind_tables),
		cmocka_unit_test(refuses_what_is_cut),
		cmocka_unit_test(finds_in_the_cache),
	};

	return cmocka_run_group_tests_name("elf", tests, NULL, NULL);
}
