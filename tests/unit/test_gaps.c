/* gaps finds what lies between touched spans near each other, and what follows those read one after the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <string.h>

#include "base/fd.h"
#include "fetch/gaps.h"

#define N 64
#define SIZE UINT64_C(131072)

static struct bytes bytes; /* the table points into them */

static int make(void **state)
{
	_cleanup_(span_table_builder_free) struct span_table_builder b = {0};
	struct span_table *t = NULL;

	for (uint64_t i = 0; i < N; i++)
		assert_int_equal(span_table_add(&b, &(struct span){.off = i * SIZE,
								   .size = SIZE,
								   .kind = SPAN_STORED,
								   .packed_off = i * SIZE,
								   .packed_size = SIZE,
								   .digest = {.algorithm = DIGEST_SHA256}}),
				 0);
	assert_int_equal(span_table_finish(&b, &bytes), 0);
	assert_int_equal(span_table_load(bytes.data, bytes.size, N * SIZE, &t), 0);
	*state = t;
	return 0;
}

static int end(void **state)
{
	struct span_table *t = *state;

	span_table_free(&t);
	bytes_free(&bytes);
	return 0;
}

static void is(struct gap g, size_t first, size_t n)
{
	assert_int_equal(g.n, n);
	if (n > 0)
		assert_int_equal(g.first, first);
}

static void finds_what_is_between(void **state)
{
	uint8_t marks[N] = {0};
	struct gap g[GAP_KINDS];

	gaps_touch(marks, *state, 30, 20, 50, 4 * SIZE, g);
	is(g[GAP_BEFORE], 0, 0);
	is(g[GAP_BEHIND], 0, 0);
	gaps_touch(marks, *state, 34, 20, 50, 4 * SIZE, g);
	is(g[GAP_BEFORE], 31, 3);
	is(g[GAP_BEHIND], 0, 0);
	gaps_touch(marks, *state, 26, 20, 50, 4 * SIZE, g);
	is(g[GAP_BEFORE], 0, 0);
	is(g[GAP_BEHIND], 27, 3);
	gaps_touch(marks, *state, 40, 20, 50, 4 * SIZE, g); /* too far */
	is(g[GAP_BEFORE], 0, 0);
	gaps_touch(marks, *state, 45, 20, 50, 0, g); /* nothing is near enough */
	is(g[GAP_BEFORE], 0, 0);
	gaps_touch(marks, *state, 35, 20, 50, 4 * SIZE, g); /* beside it */
	is(g[GAP_BEFORE], 0, 0);
	gaps_touch(marks, *state, 51, 50, 60, 64 * SIZE, g); /* of another file */
	is(g[GAP_BEFORE], 0, 0);
	is(g[GAP_BEHIND], 0, 0);
}

static void reads_on(void **state)
{
	uint8_t marks[N] = {0};
	struct gap g[GAP_KINDS];
	size_t asked = 0;

	for (size_t i = 0; i < 2; i++) {
		gaps_touch(marks, *state, i, 0, N, 0, g);
		is(g[GAP_NEXT], 0, 0);
		gaps_touch(marks, *state, 40 + 2 * i, 0, N, 0, g); /* others read elsewhere meanwhile */
		is(g[GAP_NEXT], 0, 0);
	}
	gaps_touch(marks, *state, 2, 0, N, 0, g);
	is(g[GAP_NEXT], 3, 3);
	gaps_touch(marks, *state, 3, 0, N, 0, g); /* most of it was asked for */
	is(g[GAP_NEXT], 0, 0);
	for (size_t i = 4; i < N; i++) {
		gaps_touch(marks, *state, i, 0, N, 0, g);
		asked += g[GAP_NEXT].n > 0;
		assert_true(g[GAP_NEXT].n <= 32);
		if (g[GAP_NEXT].n > 0)
			assert_true(g[GAP_NEXT].first == i + 1 && i + g[GAP_NEXT].n < N);
	}
	assert_in_range(asked, 4, 10);
}

static void stays_in_the_file(void **state)
{
	uint8_t marks[N] = {0};
	struct gap g[GAP_KINDS];

	for (size_t i = 20; i < 24; i++)
		gaps_touch(marks, *state, i, 20, 25, 0, g);
	is(g[GAP_NEXT], 0, 0); /* it was asked for with 22 */
	memset(marks, 0, sizeof(marks));
	for (size_t i = 17; i < 20; i++)
		gaps_touch(marks, *state, i, 17, 20, 0, g);
	gaps_touch(marks, *state, 20, 20, N, 0, g); /* what was touched before it is another's */
	is(g[GAP_NEXT], 0, 0);
	gaps_touch(marks, *state, 0, 0, 1, UINT64_MAX, g); /* a file of one span */
	for (size_t kind = 0; kind < GAP_KINDS; kind++)
		is(g[kind], 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(finds_what_is_between, make, end),
		cmocka_unit_test_setup_teardown(reads_on, make, end),
		cmocka_unit_test_setup_teardown(stays_in_the_file, make, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
