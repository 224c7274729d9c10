/* Runs a container on a plain directory, with the flags of `lazyrun run`: the runtime without server and image.
 * RUN_DIR_PLAIN=1: the directory itself is the root; else it is the lower directory of an overlay. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "cli/container_dir.h"
#include "cli/image_container.h"
#include "cli/run_options.h"
#include "runtime/container.h"

static int run(const struct run_options *o, int *ret_status)
{
	_cleanup_(container_dir_free) struct container_dir *d = NULL;
	_cleanup_(fd_close) int store_fd = -1, cache_fd = -1;
	const char *store = getenv("LAZYRUN_STORE"), *lowers[] = {o->ensure.image, NULL};
	const bool plain = getenv("RUN_DIR_PLAIN");
	_cleanup_(container_free) struct container *k = NULL;
	int trees[CONTAINER_DIR_FILES], left_fd = -1, r;
	struct config c;
	char hostname[64];

	if (!store)
		return fail(EINVAL, "LAZYRUN_STORE is not set");
	store_fd = fd_open_dir(AT_FDCWD, store, true);
	cache_fd = fd_open_dir(store_fd, "seccomp", true);
	config_init(&c);
	r = container_dir_new(store, o->upper, NULL, &d);
	if (r < 0)
		return r;
	image_container_hostname(o, d->id, hostname);
	r = container_dir_files(d, hostname, o->own_network, trees);
	if (r == 0)
		r = image_container_build(&c, o, NULL,
					  &(struct image_container_place){d, plain ? NULL : lowers, trees, cache_fd});
	if (r == 0 && plain)
		c.rootfs = strdup(o->ensure.image);
	if (r == 0)
		r = container_start(&c, NULL, &k);
	if (r == 0)
		r = container_go(k, 10000);
	if (r == 0) {
		container_executed(k, &left_fd);
		r = container_wait(k, ret_status);
	}
	container_free(&k);
	config_free(&c);
	fd_close(&left_fd);
	return r;
}

int main(int argc, char **argv)
{
	struct run_options o;
	int status = 125, r;

	report_init("run_dir");
	r = run_options_parse(argc, argv, &o);
	if (r != 0)
		return r < 0 ? 125 : 0;
	r = run(&o, &status);
	run_options_free(&o);
	if (r < 0 && !report_any())
		fail(-r, "%s", strerror(-r));
	return status;
}
