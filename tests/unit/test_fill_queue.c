/* fill_queue: of what nobody waits for so much is on the wire that a reader is not held up, and the next goes in time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/hash.h"
#include "cache/layer_new.h"
#include "fetch/fill_queue.h"

#include <cmocka.h> /* last: it has a macro called fail */

#define KEY "tar-0000000000000000000000000000000000000000000000000000000000000001"
#define SPANS 24u
#define SIZE (256u << 10) /* of one: four are what may be on the wire ahead, two go with one request */

struct fixture {
	char dir[64];
	struct store *store;
	struct layer_store *layer;
	struct fill_queue q;
};

static void make_layer(struct fixture *f)
{
	struct tar_member m = {.type = TAR_FILE, .path = "f", .link = "", .mode = 0644, .size = SPANS * SIZE - 512, .body_off = 512};
	struct span_table_builder spans = {0};
	_cleanup_(bytes_free) struct bytes table = {0};
	uint64_t index_size, layer_file_size;
	struct layer_builder *b;
	struct layer_new *n;
	void *index;

	assert_int_equal(layer_builder_new(&b), 0);
	assert_int_equal(layer_builder_add(b, &m), 0);
	assert_int_equal(layer_builder_finish(b, SPANS * SIZE, &index_size, &layer_file_size), 0);
	assert_int_equal(layer_new_open(f->store, &n), 0);
	for (uint64_t off = 0; off < SPANS * SIZE; off += SIZE) {
		struct span s = {.off = off, .size = SIZE, .kind = SPAN_STORED, .packed_off = off, .packed_size = SIZE};

		hash_bytes("", 0, &s.digest);
		assert_int_equal(span_table_add(&spans, &s), 0);
	}
	assert_int_equal(span_table_finish(&spans, &table), 0);
	assert_int_equal(layer_new_index(n, index_size, &index), 0);
	layer_builder_render(b, index);
	assert_int_equal(layer_new_commit(n, KEY, layer_file_size, &table), 0);
	layer_new_free(&n);
	layer_builder_free(&b);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char path[96], run[96];

	strcpy(f->dir, "/tmp/lazyrun-store-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(path, sizeof(path), "%s/store", f->dir);
	snprintf(run, sizeof(run), "%s/run", f->dir);
	assert_int_equal(store_open(path, run, true, &f->store), 0);
	make_layer(f);
	assert_int_equal(layer_store_open(f->store, KEY, true, &f->layer), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	while (f->q.items)
		fill_queue_remove(&f->q, f->q.items);
	assert_int_equal(f->q.ahead_out, 0);
	layer_store_free(&f->layer);
	store_free(&f->store);
	assert_int_equal(fd_remove_tree(AT_FDCWD, f->dir), 0);
	free(f);
	return 0;
}

static void add(struct fixture *f, size_t from, size_t n, bool ahead)
{
	for (size_t i = from; i < from + n; i++)
		assert_int_equal(fill_queue_add(&f->q, f->layer, 1, i, ahead), 0);
}

static bool take(struct fixture *f, struct fill_batch *b)
{
	const bool ready = fill_queue_is_ready(&f->q);
	int64_t soonest;

	assert_int_equal(fill_queue_take(&f->q, b, &soonest), ready);
	return ready;
}

static void end(struct fixture *f, struct fill_batch *b)
{
	for (size_t i = 0; i < b->n; i++)
		fill_queue_remove(&f->q, b->items[i]);
	fill_queue_end(&f->q, b);
}

static void the_next_guess_goes_when_little_is_still_to_come(void **state)
{
	struct fixture *f = *state;
	struct fill_batch a = {0}, b = {0}, c = {0}, none = {0};

	add(f, 0, 16, true);
	assert_true(take(f, &a) && a.n == 2 && a.ahead);
	assert_true(take(f, &b) && b.n == 2);
	assert_int_equal(f->q.ahead_out, 4 * SIZE);
	fill_queue_came(&f->q, a.items[0], 1);
	assert_true(take(f, &c) && c.n == 2 && c.items[0]->unit.first == 4);
	assert_int_equal(f->q.ahead_out, 6 * SIZE - 1);
	assert_false(take(f, &none));
	fill_queue_came(&f->q, a.items[0], SIZE);
	fill_queue_came(&f->q, a.items[0], SIZE + 1); /* no more than it has */
	assert_int_equal(f->q.ahead_out, 5 * SIZE);
	fill_queue_came(&f->q, a.items[0], SIZE / 2); /* sent again */
	assert_int_equal(f->q.ahead_out, 5 * SIZE + SIZE / 2);
	end(f, &a);
	assert_int_equal(f->q.ahead_out, 4 * SIZE);
	fill_queue_came(&f->q, b.items[1], SIZE);
	fill_queue_put_back(&f->q, b.items[1]); /* it did not come after all */
	fill_queue_put_back(&f->q, b.items[0]);
	fill_queue_end(&f->q, &b);
	assert_int_equal(f->q.ahead_out, 2 * SIZE);
	assert_true(take(f, &a) && a.n == 2 && a.items[0]->unit.first == 2 && a.items[0]->came == 0);
	assert_int_equal(f->q.n_coming, 0);
	end(f, &a);
	end(f, &c);
}

static void three_go_while_nothing_comes(void **state)
{
	struct fixture *f = *state;
	struct fill_batch all[4] = {0};

	add(f, 0, 16, true);
	for (size_t i = 0; i < 3; i++)
		assert_true(take(f, &all[i]));
	assert_int_equal(f->q.ahead_out, 6 * SIZE);
	assert_false(take(f, &all[3]));
	fill_queue_came(&f->q, all[1].items[1], 1);
	assert_int_equal(f->q.n_coming, 1);
	end(f, &all[0]);
	assert_int_equal(f->q.ahead_out, 4 * SIZE - 1);
	assert_true(take(f, &all[3]));
	end(f, &all[1]);
	assert_int_equal(f->q.n_coming, 0);
	end(f, &all[2]);
	end(f, &all[3]);
}

static void readers_are_not_held_up(void **state)
{
	struct fixture *f = *state;
	struct fill_batch guesses[3] = {0}, a = {0}, b = {0}, none = {0};

	add(f, 0, 16, true);
	for (size_t i = 0; i < 3; i++)
		assert_true(take(f, &guesses[i]));
	assert_false(take(f, &none));
	add(f, 20, 1, false);
	add(f, 14, 1, false); /* a guess that is a reader's now */
	assert_true(take(f, &a) && !a.ahead && a.items[0]->unit.first == 14);
	end(f, &a);
	assert_true(take(f, &b) && !b.ahead && b.items[0]->unit.first == 20);
	fill_queue_came(&f->q, b.items[0], SIZE); /* none of the guesses' */
	assert_int_equal(f->q.ahead_out, 6 * SIZE);
	assert_int_equal(f->q.n_coming, 0);
	end(f, &b);
	add(f, 0, 1, false); /* one that is on its way */
	assert_int_equal(f->q.ahead_out, 6 * SIZE);
	for (size_t i = 0; i < 3; i++)
		end(f, &guesses[i]);
	assert_int_equal(f->q.ahead_out, 0);
	assert_int_equal(f->q.n_ahead, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_next_guess_goes_when_little_is_still_to_come, set_up, tear_down),
		cmocka_unit_test_setup_teardown(three_go_while_nothing_comes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(readers_are_not_held_up, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
