/* The cache of merged directories gives back what was put, keeps its size, and drops the oldest first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fd.h"
#include "fs/dir_cache.h"

static void fill(struct tree_dir *dir, uint64_t nodeid)
{
	dir->n_parts = 1 + (uint32_t)(nodeid % 40);
	for (uint32_t i = 0; i < dir->n_parts; i++)
		dir->parts[i] = (struct tree_part){(uint16_t)i, (uint32_t)(nodeid + i)};
}

static void put(struct dir_cache *c, uint64_t nodeid)
{
	struct tree_dir dir;

	fill(&dir, nodeid);
	dir_cache_put(c, nodeid, &dir, (struct dir_cache_attributes){3, (uint32_t)nodeid});
}

static bool has(struct dir_cache *c, uint64_t nodeid)
{
	struct dir_cache_attributes at;
	struct tree_dir dir, want;

	if (!dir_cache_get(c, nodeid, &dir, &at))
		return false;
	fill(&want, nodeid);
	assert_int_equal(dir.n_parts, want.n_parts);
	for (uint32_t i = 0; i < want.n_parts; i++) {
		assert_int_equal(dir.parts[i].position, want.parts[i].position);
		assert_int_equal(dir.parts[i].nid, want.parts[i].nid);
	}
	assert_int_equal(at.position, 3);
	assert_int_equal(at.nid, (uint32_t)nodeid);
	return true;
}

static void gives_back_what_was_put(void **state)
{
	_cleanup_(dir_cache_free) struct dir_cache *c = NULL;

	(void)state;
	assert_int_equal(dir_cache_new(&c), 0);
	assert_false(has(c, 5));
	for (uint64_t i = 1; i < 500; i++)
		put(c, i << 33 | i);
	put(c, UINT64_C(7) << 33 | 7);
	for (uint64_t i = 1; i < 500; i++)
		assert_true(has(c, i << 33 | i));
	assert_false(has(c, 7));
}

static void drops_what_was_used_least_lately(void **state)
{
	_cleanup_(dir_cache_free) struct dir_cache *c = NULL;
	uint64_t n = 0;

	(void)state;
	assert_int_equal(dir_cache_new(&c), 0);
	put(c, 1);
	put(c, 2);
	for (n = 3; n < 200000; n++) {
		put(c, n);
		assert_true(has(c, 1)); /* used all the time */
	}
	assert_false(has(c, 2));
	assert_true(has(c, n - 1));
	assert_false(has(c, n - DIR_CACHE_SIZE / 48));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_back_what_was_put),
		cmocka_unit_test(drops_what_was_used_least_lately),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
