/* number_table: numbers never change their meaning, and removed entries get new ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "cache/number_table.h"

static void numbers_stay(void **state)
{
	struct number_table *t, *mapped_again;
	int fd;
	uint32_t a, b, image, again;
	const uint32_t *list;
	const char *key;
	size_t n;

	(void)state;
	assert_int_equal(number_table_create(&fd, &t), 0);
	assert_int_equal(number_table_add_layer(t, "tar-a", &a), 0);
	assert_int_equal(number_table_add_layer(t, "tar-b", &b), 0);
	assert_int_equal(number_table_add_layer(t, "tar-a", &again), 0);
	assert_int_equal(a, again);
	assert_int_equal(a, 1);
	assert_int_equal(number_table_add_image(t, "i", (uint32_t[]){a, b}, 2, &image), 0);
	assert_int_equal(number_table_image(t, image, &key, &list, &n), 0);
	assert_string_equal(key, "i");
	assert_int_equal(n, 2);
	assert_int_equal(list[1], b);
	assert_int_equal(number_table_image(t, image + 1, &key, &list, &n), -ENOENT);
	assert_int_equal(number_table_image(t, 0, &key, &list, &n), -ENOENT);
	/* Another program that is given the descriptor. */
	assert_int_equal(number_table_again(fd, &mapped_again), 0);
	assert_ptr_not_equal(t, mapped_again);
	assert_int_equal(number_table_find_layer(mapped_again, "tar-b", &again), 0);
	assert_int_equal(again, b);
	close(fd);
}

static void removed_entries_get_new_numbers(void **state)
{
	struct number_table *t;
	int fd;
	uint32_t a, b, image, image2;
	const char *key;

	(void)state;
	assert_int_equal(number_table_create(&fd, &t), 0);
	assert_int_equal(number_table_add_layer(t, "tar-a", &a), 0);
	assert_int_equal(number_table_add_image(t, "i", &a, 1, &image), 0);
	number_table_remove_layer(t, a);
	assert_int_equal(number_table_layer(t, a, &key), -ENOENT);
	assert_int_equal(number_table_find_layer(t, "tar-a", &b), -ENOENT);
	assert_int_equal(number_table_add_layer(t, "tar-a", &b), 0);
	assert_int_not_equal(a, b);
	assert_int_equal(number_table_add_image(t, "i", &b, 1, &image2), 0);
	assert_int_not_equal(image, image2);
	assert_int_equal(number_table_find_image(t, "i", &b), 0);
	assert_int_equal(b, image2);
	close(fd);
}

/* The first two words are the counts of layers and images (number_table.c). */
static void counts_of_a_hostile_writer_stay_inside(void **state)
{
	const uint32_t huge[2] = {UINT32_MAX, UINT32_MAX};
	struct number_table *t;
	const uint32_t *list;
	uint32_t a, image;
	const char *key;
	size_t n;
	int fd;

	(void)state;
	assert_int_equal(number_table_create(&fd, &t), 0);
	assert_int_equal(number_table_add_layer(t, "tar-a", &a), 0);
	assert_int_equal(number_table_add_image(t, "i", &a, 1, &image), 0);
	assert_int_equal(pwrite(fd, huge, sizeof(huge), 0), sizeof(huge));
	assert_true(number_table_n_layers(t) < 1u << 26);
	assert_true(number_table_n_images(t) < 1u << 18);
	assert_int_equal(number_table_layer(t, UINT32_MAX, &key), -ENOENT);
	assert_int_equal(number_table_image(t, UINT32_MAX, &key, &list, &n), -ENOENT);
	assert_null(number_table_image_key(t, UINT32_MAX));
	assert_int_equal(number_table_find_image(t, "i", &image), 0);
	assert_int_equal(image, 1);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_stay),
		cmocka_unit_test(counts_of_a_hostile_writer_stay_inside),
		cmocka_unit_test(removed_entries_get_new_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
