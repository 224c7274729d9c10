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
#include "cli/client.h"
#include "cli/container_dir.h"
#include "cli/image_container.h"
#include "cli/run_options.h"
#include "runtime/container.h"

/* The flags' table lies beside what asks for an image; a directory needs none of it. */
#define UNUSED(declaration)                                                                                            \
	declaration                                                                                                    \
	{                                                                                                              \
		abort();                                                                                               \
	}
UNUSED(int client_open(const struct store *s __attribute__((unused)), int t __attribute__((unused)),
		       struct client **r __attribute__((unused))))
UNUSED(int client_open_running(const struct store *s __attribute__((unused)), int t __attribute__((unused)),
			       struct client **r __attribute__((unused))))
UNUSED(void client_free(struct client **c __attribute__((unused))))
UNUSED(int client_send(struct client *c __attribute__((unused)), struct json_object *o __attribute__((unused)),
		       const uint8_t *k __attribute__((unused))))
UNUSED(int client_receive(struct client *c __attribute__((unused)), struct json_object **r __attribute__((unused))))
UNUSED(int client_request(struct client *c __attribute__((unused)), struct json_object *o __attribute__((unused)),
			  const uint8_t *k __attribute__((unused)), struct json_object **r __attribute__((unused))))
UNUSED(int store_open(const char *s __attribute__((unused)), const char *d __attribute__((unused)),
		      bool m __attribute__((unused)), struct store **r __attribute__((unused))))
UNUSED(void store_free(struct store **s __attribute__((unused))))
UNUSED(int credentials_access(const struct reference *r __attribute__((unused)),
			      const struct credentials_options *o __attribute__((unused)),
			      struct json_object **ret __attribute__((unused))))

static int run(const struct run_options *o, int *ret_status)
{
	_cleanup_(container_dir_free) struct container_dir *d = NULL;
	_cleanup_(fd_close) int lower_fd = open(o->ensure.image, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(fd_close) int store_fd = -1, containers_fd = -1, cache_fd = -1;
	const char *store = getenv("LAZYRUN_STORE");
	struct config c;
	int trees[CONTAINER_DIR_FILES];
	char hostname[64];
	int r;

	if (lower_fd < 0 || !store)
		return fail(EINVAL, "%s is no directory, or LAZYRUN_STORE is not set", o->ensure.image);
	store_fd = fd_open_dir(AT_FDCWD, store, true);
	containers_fd = fd_open_dir(store_fd, "containers", true);
	cache_fd = fd_open_dir(store_fd, "seccomp", true);
	config_init(&c);
	r = container_dir_new(store, containers_fd, lower_fd, o->upper, &d);
	if (r < 0)
		return r;
	image_container_hostname(o, d->id, hostname);
	r = container_dir_files(d, hostname, o->own_network, trees);
	if (r == 0)
		r = image_container_build(&c, o, NULL,
					  &(struct image_container_place){lower_fd, d->id, trees, cache_fd});
	if (r == 0 && getenv("RUN_DIR_PLAIN")) {
		c.rootfs = strdup(o->ensure.image);
	} else if (r == 0) {
		c.overlay.lower_fds = malloc(2 * sizeof(int));
		c.overlay.n_lower = 2;
		c.overlay.lower_fds[0] = TAKE_FD(lower_fd);
		c.overlay.lower_fds[1] = TAKE_FD(d->below_fd);
		c.overlay.upper_fd = TAKE_FD(d->upper_fd);
		c.overlay.work_fd = TAKE_FD(d->work_fd);
		c.overlay.keep_upper = d->keep_upper;
	}
	if (r == 0)
		r = container_run(&c, ret_status);
	config_free(&c);
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
