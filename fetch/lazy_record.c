/* The server writes to a file that is made here. */
#include "fetch/lazy_record.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"

#define SERVER_MS 30000 /* dropping the pages of a large image takes a while */

static int wait_for_server(const struct context *c, unsigned int before, unsigned int n)
{
	int64_t deadline = clock_ms() + SERVER_MS;

	while (atomic_load(c->setup->n_dropped) - before < n) {
		if (clock_ms() > deadline)
			return fail(ETIMEDOUT, "the file server does not get ready to record; is it stopped?");
		usleep(1000);
	}
	return 0;
}

static int drop_pages(struct context *c, const struct image *image)
{
	unsigned int before = atomic_load(c->setup->n_dropped), n = 0;
	uint32_t number;

	for (size_t i = 0; i < image->n_layers; i++)
		if (number_table_find_layer(c->numbers, image->layers[i].key, &number) == 0) {
			context_tell_server(c, NEED_DROP_PAGES, number);
			n++;
		}
	return wait_for_server(c, before, n);
}

int lazy_record_start(struct context *c, const struct image *image)
{
	_cleanup_(fd_close) int fd =
		openat(c->store->tmp_fd, "touched", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	unsigned int before;
	int r;

	if (fd < 0 && errno == EEXIST)
		return fail(EBUSY, "another command records already; if it was killed, remove %s/tmp/touched",
			    c->store->store_path);
	if (fd < 0)
		return fail(errno, "%s/tmp/touched cannot be made: %s", c->store->store_path, strerror(errno));
	before = atomic_load(c->setup->n_dropped);
	context_tell_server(c, NEED_RECORD, 1);
	r = wait_for_server(c, before, 1);
	if (r == 0)
		r = drop_pages(c, image);
	if (r < 0)
		unlinkat(c->store->tmp_fd, "touched", 0);
	return r;
}

int lazy_record_stop(struct context *c, struct bytes *ret)
{
	unsigned int before = atomic_load(c->setup->n_dropped);
	int r;

	context_tell_server(c, NEED_RECORD, 0);
	r = wait_for_server(c, before, 1);
	if (r == 0)
		r = fd_read_file(c->store->tmp_fd, "touched", LIMIT_TOUCHED_SIZE, ret);
	unlinkat(c->store->tmp_fd, "touched", 0);
	if (r == -ENOENT)
		return -ENODATA;
	if (r == 0 && ret->size < sizeof(struct need_touched))
		return -ENODATA;
	return r == -EFBIG ? fail(EFBIG, "more than %zu reads were recorded: record a command that ends sooner",
				  LIMIT_TOUCHED_SIZE / sizeof(struct need_touched))
			   : r;
}
