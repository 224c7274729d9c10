/* have_map: bits of exactly the pages that a range touches, last page and word edges included. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "cache/have_map.h"

static void covers_word_edges(void **state)
{
	char dir[] = "/tmp/lazyrun-have-XXXXXX";
	const uint64_t size = 200 * 4096 + 1; /* 201 pages */
	struct have_map *h;
	int dir_fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(have_map_create(dir_fd, "have", size, false), 0);
	assert_int_equal(have_map_open(dir_fd, "have", 4096 * 300, true, &h), -EBADMSG);
	assert_int_equal(have_map_open(dir_fd, "have", size, true, &h), 0);
	assert_false(have_map_test(h, 0, 1));
	assert_true(have_map_test(h, 0, 0));
	have_map_set(h, 63 * 4096, 2 * 4096);
	assert_true(have_map_test(h, 63 * 4096 + 7, 4096 + 100));
	assert_false(have_map_test(h, 62 * 4096, 4097));
	assert_false(have_map_test(h, 64 * 4096, 4097));
	have_map_set(h, 200 * 4096, 1);
	assert_int_equal(have_map_bytes(h), 3 * 4096);
	have_map_set(h, 0, size);
	assert_int_equal(have_map_bytes(h), size);
	have_map_clear(h, 64 * 4096, 64 * 4096);
	assert_true(have_map_test(h, 0, 64 * 4096));
	assert_false(have_map_test(h, 127 * 4096, 1));
	assert_true(have_map_test(h, 128 * 4096, 72 * 4096));
	have_map_free(&h);
	assert_int_equal(fd_remove_tree(AT_FDCWD, dir), 0);
	close(dir_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(covers_word_edges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
