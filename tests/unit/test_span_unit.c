/* span_unit: what a unit may take while it is on its way, and who waits for whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "fetch/span_unit.h"
#include "format/span_table.h"

/* Of the largest span that a table may have. */
static uint64_t largest(enum span_kind kind)
{
	const struct span span = {.size = LIMIT_SPAN_SIZE, .kind = kind, .packed_off = 100, .packed_size = LIMIT_SPAN_SIZE,
				  .skip = LIMIT_SPAN_SIZE, .digest = {.algorithm = DIGEST_SHA256}};
	struct span_table_builder b = {.foreign = true};
	struct span_table *t = NULL;
	struct bytes out = {0};
	struct span_unit u;
	uint64_t memory;

	assert_int_equal(span_table_add(&b, &span), 0);
	assert_int_equal(span_table_finish(&b, &out), 0);
	assert_int_equal(span_table_load(out.data, out.size, UINT64_C(1) << 30, &t), 0);
	span_unit_of(t, 0, &u);
	memory = span_unit_memory(t, &u);
	span_table_free(&t);
	bytes_free(&out);
	return memory;
}

static void counts_all_that_is_taken(void **state)
{
	const uint64_t most = LIMIT_SPAN_SIZE;

	(void)state;
	assert_int_equal(largest(SPAN_GZIP_MEMBER), 3 * most);
	assert_int_equal(largest(SPAN_ZSTD), 5 * most); /* its window too */
}

/* LIMIT_FILL_FREE, LIMIT_FILL_MEMORY: below, at and above the line */
static void large_ones_share(void **state)
{
	const uint64_t all = LIMIT_FILL_MEMORY, large = LIMIT_FILL_FREE + 1;

	(void)state;
	assert_false(span_unit_is_large(LIMIT_FILL_FREE - 1));
	assert_false(span_unit_is_large(LIMIT_FILL_FREE));
	assert_true(span_unit_is_large(LIMIT_FILL_FREE + 1));
	assert_true(span_unit_fits(LIMIT_FILL_FREE, UINT64_MAX)); /* never waits */
	assert_true(span_unit_fits(large, all - large - 1));
	assert_true(span_unit_fits(large, all - large));
	assert_false(span_unit_fits(large, all - large + 1));
	assert_true(span_unit_fits(all + 1, 0)); /* alone: it would wait for ever */
	assert_false(span_unit_fits(all + 1, 1));
	assert_false(span_unit_fits(large, all + 1));
}

/* As the queue does it: however large spans are, all come through, and never is more out than may be. */
static void every_order_ends(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (int round = 0; round < 1000; round++) {
		uint64_t size[32], out = 0, most = LIMIT_FILL_MEMORY;
		size_t first_out = 0, next = 0, n = sizeof(size) / sizeof(size[0]);

		for (size_t i = 0; i < n; i++) {
			seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
			size[i] = LIMIT_FILL_FREE + 1 + (seed >> 33) % (5 * (uint64_t)LIMIT_SPAN_SIZE);
			most = size[i] > most ? size[i] : most;
		}
		while (first_out < n) {
			while (next < n && span_unit_fits(size[next], out))
				out += size[next++];
			assert_true(next > first_out); /* something is always on its way */
			assert_true(out <= most);
			out -= size[first_out++];
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_all_that_is_taken),
		cmocka_unit_test(large_ones_share),
		cmocka_unit_test(every_order_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
