/* What init said is heard, whatever it has read of what was said to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#undef fail /* ours has another meaning */

#include "base/fd.h"
#include "runtime/sync.h"

/* An init that fails does not come to sync_wait(). */
static void test_go_is_not_read(void **state)
{
	struct sync_packet p;
	int fds[2], passed_fd;

	(void)state;
	assert_int_equal(sync_open(fds), 0);
	sync_go(fds[0]);
	assert_int_equal(sync_send(fds[1], SYNC_FAILED, EIO, "the tree cannot be opened", -1), 0);
	fd_close(&fds[1]);
	assert_int_equal(sync_receive(fds[0], &p, &passed_fd), 1);
	assert_int_equal(p.kind, SYNC_FAILED);
	assert_int_equal(p.error, EIO);
	assert_string_equal(p.text, "the tree cannot be opened");
	assert_int_equal(passed_fd, -1);
	assert_int_equal(sync_receive(fds[0], &p, &passed_fd), 0);
	fd_close(&fds[0]);
}

static void test_ends_without_a_word(void **state)
{
	struct sync_packet p;
	int fds[2], passed_fd;

	(void)state;
	assert_int_equal(sync_open(fds), 0);
	sync_go(fds[0]);
	fd_close(&fds[1]);
	assert_int_equal(sync_receive(fds[0], &p, &passed_fd), 0);
	fd_close(&fds[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_go_is_not_read),
		cmocka_unit_test(test_ends_without_a_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
