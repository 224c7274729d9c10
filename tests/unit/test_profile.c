/* profile gives back what was added, and refuses files that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "format/profile.h"

#define LAYERS_OFF 48u
#define LAST_PAGE (LIMIT_LAYER_FILE_SIZE / 4096 - 1)

static void make(size_t n_layers, size_t n_runs, struct bytes *ret)
{
	_cleanup_(profile_free) struct profile *p = NULL;

	assert_int_equal(profile_new(n_layers, &p), 0);
	for (size_t i = 0; i < n_layers; i++)
		memset(p->layers[i], (int)i + 1, PROFILE_UUID_SIZE);
	for (size_t i = 0; i < n_runs; i++)
		assert_int_equal(profile_add(p, (uint32_t)(i % n_layers), 1000 - i % 1000, (uint32_t)(i % PROFILE_RUN_PAGES) + 1), 0);
	assert_int_equal(profile_write(p, ret), 0);
}

static void seal(struct bytes *b)
{
	struct digest d;

	hash_bytes(b->data + 40, b->size - 40, &d);
	memcpy(b->data + 8, d.bytes, 32);
}

static void gives_back_what_was_added(void **state)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	_cleanup_(profile_free) struct profile *p = NULL;

	(void)state;
	make(3, 700, &b);
	assert_int_equal(profile_parse(b.data, b.size, &p), 0);
	assert_int_equal(p->n_layers, 3);
	assert_int_equal(p->n_runs, 700);
	for (size_t i = 0; i < 700; i++) {
		assert_int_equal(p->runs[i].layer, i % 3);
		assert_int_equal(p->runs[i].first, 1000 - i % 1000);
		assert_int_equal(p->runs[i].n, i % PROFILE_RUN_PAGES + 1);
	}
	assert_int_equal(p->layers[2][PROFILE_UUID_SIZE - 1], 3);
}

static void is_bounded(void **state)
{
	_cleanup_(bytes_free) struct bytes b = {0}, over = {0};
	_cleanup_(profile_free) struct profile *p = NULL;

	(void)state;
	make(LIMIT_LAYERS, LIMIT_PROFILE_RUNS, &b);
	assert_true(b.size <= PROFILE_SIZE_MAX);
	assert_int_equal(profile_parse(b.data, b.size, &p), 0);
	assert_int_equal(profile_add(p, 0, 0, 1), -EFBIG);
	profile_free(&p);
	assert_int_equal(bytes_append(&over, b.data, b.size), 0);
	assert_int_equal(bytes_append(&over, b.data + b.size - 16, 16), 0);
	over.data[44]++; /* one run more */
	seal(&over);
	assert_int_equal(profile_parse(over.data, over.size, &p), -EFBIG);
	over.data[44]--;
	over.data[40]++; /* one layer more */
	seal(&over);
	assert_int_equal(profile_parse(over.data, over.size, &p), -EFBIG);
}

static void refuses_what_is_torn(void **state)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	_cleanup_(profile_free) struct profile *p = NULL;

	(void)state;
	make(2, 10, &b);
	for (size_t size = 0; size < b.size; size++)
		assert_int_equal(profile_parse(b.data, size, &p), -EBADMSG);
	for (size_t i = 0; i < b.size; i++) {
		b.data[i] ^= 0x10;
		assert_int_equal(profile_parse(b.data, b.size, &p), -EBADMSG);
		b.data[i] ^= 0x10;
	}
	assert_null(p);
}

static void put_run(struct bytes *b, uint32_t layer, uint32_t n, uint64_t first)
{
	uint8_t *at = b->data + LAYERS_OFF + PROFILE_UUID_SIZE;

	memcpy(at, &layer, 4); /* little-endian, as our machines are */
	memcpy(at + 4, &n, 4);
	memcpy(at + 8, &first, 8);
	seal(b);
}

static void refuses_runs_that_lie(void **state)
{
	static const struct {
		uint32_t layer, n;
		uint64_t first;
		int want;
	} cases[] = {
		{0, 1, 0, 0},
		{0, PROFILE_RUN_PAGES, LAST_PAGE, 0},
		{1, 1, 0, -EBADMSG},
		{UINT32_MAX, 1, 0, -EBADMSG},
		{0, 0, 0, -EBADMSG},
		{0, PROFILE_RUN_PAGES + 1, 0, -EBADMSG},
		{0, UINT32_MAX, 0, -EBADMSG},
		{0, 1, LAST_PAGE + 1, -EBADMSG},
		{0, 1, UINT64_MAX, -EBADMSG},
	};
	_cleanup_(bytes_free) struct bytes b = {0};

	(void)state;
	make(1, 1, &b);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_(profile_free) struct profile *p = NULL;

		put_run(&b, cases[i].layer, cases[i].n, cases[i].first);
		assert_int_equal(profile_parse(b.data, b.size, &p), cases[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_back_what_was_added),
		cmocka_unit_test(is_bounded),
		cmocka_unit_test(refuses_what_is_torn),
		cmocka_unit_test(refuses_runs_that_lie),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
