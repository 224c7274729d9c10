/* lazy_record: what the server noted is handed over up to the limit, and its file is gone afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "fetch/lazy_record.h"

#include <cmocka.h> /* last: it has a macro called fail */

static atomic_uint n_done;

/* A server that is done at once. */
void context_tell_server(const struct context *c, enum need_kind kind, uint32_t number)
{
	(void)c;
	(void)kind;
	(void)number;
	atomic_fetch_add(&n_done, 1);
}

int number_table_find_layer(const struct number_table *t, const char *key, uint32_t *ret)
{
	(void)t;
	(void)key;
	*ret = 1;
	return 0;
}

/* A recording of `size` bytes, in a directory of its own. */
static int record(uint64_t size, size_t *ret_size, char said[static REPORT_TEXT_SIZE])
{
	char dir[] = "/tmp/lazyrun-record-XXXXXX";
	struct fetcher_setup setup = {.n_dropped = &n_done};
	struct store store = {0};
	struct context c = {.setup = &setup, .store = &store};
	const struct image image = {.n_layers = 0};
	_cleanup_(bytes_free) struct bytes touched = {0};
	_cleanup_(fd_close) int fd = -1;
	int r;

	assert_non_null(mkdtemp(dir));
	store.store_path = dir;
	store.tmp_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(lazy_record_start(&c, &image), 0);
	fd = openat(store.tmp_fd, "touched", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	report_forget();
	report_capture(said);
	assert_int_equal(lazy_record_start(&c, &image), -EBUSY);
	r = lazy_record_stop(&c, &touched);
	report_capture(NULL);
	*ret_size = touched.size;
	assert_int_equal(faccessat(store.tmp_fd, "touched", F_OK, 0), -1);
	fd_close(&store.tmp_fd);
	assert_int_equal(rmdir(dir), 0);
	return r;
}

/* LIMIT_TOUCHED_SIZE */
static void up_to_the_limit(void **state)
{
	const size_t one = sizeof(struct need_touched);
	char said[REPORT_TEXT_SIZE];
	size_t size;

	(void)state;
	assert_int_equal(record(0, &size, said), -ENODATA);
	assert_int_equal(record(LIMIT_TOUCHED_SIZE - one, &size, said), 0);
	assert_int_equal(size, LIMIT_TOUCHED_SIZE - one);
	assert_int_equal(record(LIMIT_TOUCHED_SIZE, &size, said), 0);
	assert_int_equal(size, LIMIT_TOUCHED_SIZE);
	assert_int_equal(record(LIMIT_TOUCHED_SIZE + one, &size, said), -EFBIG);
	assert_non_null(strstr(said, "more than 4194304 reads"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(up_to_the_limit)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
