/* fill_queue: of what nobody waits for so much is on the wire that a reader is not held up, and the next goes in time. */
#include "spans_layer.h"

#include "fetch/fill_queue.h"

#define SPANS 24u
#define SIZE (256u << 10) /* of one: four are what may be on the wire ahead, two go with one request */

struct fixture {
	struct spans_layer l;
	struct fill_queue q;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	spans_layer_make(&f->l, SPANS, SIZE);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	while (f->q.items)
		fill_queue_remove(&f->q, f->q.items);
	assert_true(f->q.ahead_out == 0 && f->q.n_out == 0 && f->q.n_coming == 0);
	spans_layer_end(&f->l);
	free(f);
	return 0;
}

static void add(struct fixture *f, size_t from, size_t n, bool ahead)
{
	for (size_t i = from; i < from + n; i++)
		assert_int_equal(fill_queue_add(&f->q, f->l.layer, 1, i, ahead), 0);
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

static void what_came_is_not_in_yet(void **state)
{
	struct fixture *f = *state;
	struct fill_batch a = {0};

	assert_false(fill_queue_is_ahead(&f->q));
	add(f, 0, 1, true);
	assert_true(fill_queue_is_ahead(&f->q));
	assert_true(take(f, &a));
	fill_queue_came(&f->q, a.items[0], SIZE);
	assert_int_equal(f->q.ahead_out, 0);
	assert_true(fill_queue_is_ahead(&f->q));
	end(f, &a);
	assert_false(fill_queue_is_ahead(&f->q));
}

/* Who fills a layer in the background, or reads one as a whole, would be through with it in no time. */
static void no_more_while_a_host_is_away(void **state)
{
	struct fixture *f = *state;

	assert_true(fill_queue_wants_more(&f->q));
	fill_queue_guess_failed(&f->q);
	assert_false(fill_queue_wants_more(&f->q));
	f->q.no_more_before -= 1000;
	assert_true(fill_queue_wants_more(&f->q));
}

static void what_stalls_does_not_hold_up_the_next(void **state)
{
	struct fixture *f = *state;
	struct fill_batch a = {0}, b = {0}, c = {0};
	int64_t soonest;

	add(f, 0, 16, true);
	assert_true(take(f, &a) && take(f, &b));
	fill_queue_came(&f->q, a.items[0], 1);
	f->q.ahead_out += 1;
	assert_false(fill_queue_take(&f->q, &c, &soonest));
	assert_int_equal(soonest, f->q.came_last + 1000);
	f->q.came_last -= 1000;
	assert_true(take(f, &c));
	f->q.ahead_out -= 1;
	end(f, &a);
	end(f, &b);
	end(f, &c);
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
	assert_int_equal(f->q.n_ahead_waiting, 8); /* 15 went with 14 */
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
		cmocka_unit_test_setup_teardown(what_came_is_not_in_yet, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_more_while_a_host_is_away, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_stalls_does_not_hold_up_the_next, set_up, tear_down),
		cmocka_unit_test_setup_teardown(readers_are_not_held_up, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
