/* read_on: what follows who reads on; what does not follow who jumps about. */
#include "spans_layer.h"

#include "fetch/read_on.h"

#define KIB UINT64_C(1024)

/* A stand-in for fill: what was asked for last, and in all; there is room for so many calls. */
static size_t asked_first, asked_n, asked_all;
static unsigned int room;

void fill_ahead(struct fill *f, struct layer_store *layer, uint32_t number, size_t first, size_t n)
{
	(void)f;
	(void)layer;
	assert_int_equal(number, 7);
	asked_first = first;
	asked_n = n;
	asked_all += n;
	room -= room > 0;
}

bool fill_has_room(struct fill *f)
{
	(void)f;
	return room > 0;
}

static void touch(struct read_on *o, const struct spans_layer *l, uint64_t off, uint64_t size)
{
	const struct layer_file file = {.off = off, .size = size};

	asked_n = 0;
	read_on_touch(o, NULL, l->layer, 7, &file, off, size > KIB * KIB);
}

static void reset(struct read_on *o)
{
	*o = (struct read_on){0};
	asked_n = asked_all = 0;
}

static void small_spans_one_after_the_other(void **state)
{
	struct spans_layer l = {0};
	struct read_on o;

	(void)state;
	spans_layer_make(&l, 64, 256 * KIB);
	reset(&o);
	for (uint64_t i = 0; i < 4; i++)
		touch(&o, &l, i * 256 * KIB, 256 * KIB);
	assert_int_equal(asked_all, 0); /* not yet */
	touch(&o, &l, 4 * 256 * KIB, 256 * KIB);
	assert_true(asked_first == 5 && asked_n == 4);
	touch(&o, &l, 5 * 256 * KIB, 256 * KIB);
	assert_int_equal(asked_n, 0); /* more than half of it was asked for */
	reset(&o);
	for (uint64_t i = 0; i < 60; i += 2) /* every other one */
		touch(&o, &l, i * 256 * KIB, 64 * KIB);
	for (uint64_t i = 60; i > 0; i--) /* back */
		touch(&o, &l, i * 256 * KIB, 256 * KIB);
	for (uint64_t i = 0; i < 10; i++) /* of a large file */
		touch(&o, &l, i * 256 * KIB, 4096 * KIB);
	assert_int_equal(asked_all, 0);
	spans_layer_end(&l);
}

static void files_one_after_the_other_in_long_spans(void **state)
{
	struct spans_layer l = {0};
	struct read_on o;

	(void)state;
	spans_layer_make(&l, 8, 4096 * KIB);
	for (uint64_t begin = 0; begin < 2; begin++) { /* from the layer's beginning, and from elsewhere */
		reset(&o);
		for (uint64_t i = 0; i < 23; i++)
			touch(&o, &l, begin * 4096 * KIB + i * 32 * KIB, 32 * KIB);
		assert_int_equal(asked_all, 0);
		touch(&o, &l, begin * 4096 * KIB + 23 * 32 * KIB, 32 * KIB);
		assert_true(asked_first == begin + 1 && asked_n == 1);
	}
	reset(&o);
	for (uint64_t i = 0; i < 200; i++) /* forwards, but most are left out */
		touch(&o, &l, i * 128 * KIB, 32 * KIB);
	assert_int_equal(asked_all, 3); /* as a run of spans, up to the end */
	spans_layer_end(&l);
}

static void the_rest_of_a_layer_that_is_read_as_a_whole(void **state)
{
	struct spans_layer l = {0}, shorter = {0};
	struct read_on o;

	(void)state;
	spans_layer_make(&l, 40, 256 * KIB);
	spans_layer_make(&shorter, 8, 256 * KIB);
	reset(&o);
	room = 100;
	for (unsigned int i = 0; i < 5; i++)
		read_on_whole(&o, l.layer, 0);
	read_on_rest(&o, NULL, l.layer, 7);
	assert_true(!read_on_reads_all(&o) && asked_all == 0);
	read_on_whole(&o, l.layer, 30 * 256 * KIB);
	assert_true(read_on_reads_all(&o));
	room = 1;
	read_on_rest(&o, NULL, l.layer, 7);
	assert_true(asked_first == 30 && asked_n == 10);
	room = 1;
	read_on_rest(&o, NULL, l.layer, 7);
	assert_true(asked_first == 0 && asked_n == 16);
	room = 0;
	read_on_rest(&o, NULL, l.layer, 7);
	assert_int_equal(asked_all, 26);
	room = 100;
	read_on_rest(&o, NULL, l.layer, 7);
	assert_int_equal(asked_all, 40);
	read_on_rest(&o, NULL, l.layer, 7);
	assert_int_equal(asked_all, 40);
	o.rest = 20;
	o.n_rest = 20;
	read_on_rest(&o, NULL, shorter.layer, 7); /* of another table */
	assert_int_equal(asked_all, 40);
	spans_layer_end(&shorter);
	spans_layer_end(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_spans_one_after_the_other),
		cmocka_unit_test(files_one_after_the_other_in_long_spans),
		cmocka_unit_test(the_rest_of_a_layer_that_is_read_as_a_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
