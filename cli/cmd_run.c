/* `lazyrun [run] IMAGE [CMD...]`: an image and a container meet. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "cli/command_table.h"
#include "cli/container_dir.h"
#include "cli/ensure.h"
#include "cli/image_container.h"
#include "cli/run_options.h"
#include "cli/session.h"
#include "runtime/container.h"

/* Said once, where a person reads it: everything else of a container is its own. */
static void note_network(const struct run_options *o)
{
	if (!o->own_network && !o->ensure.quiet && isatty(STDERR_FILENO))
		report_note("the container shares this host's network; --net=none gives it none");
}

static int read_image_config(const struct store *s, const struct ensure_result *image, const char *name,
			     struct image_config **ret)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	int r = ensure_read_blob(s, &image->config_digest, LIMIT_CONFIG_SIZE, &b);

	return r < 0 ? r : image_config_parse(b.data, b.size, name, ret);
}

/* A cache of compiled programs; without it they are compiled again. */
static int open_seccomp_cache(const char *store_path)
{
	_cleanup_(fd_close) int store_fd = open(store_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return store_fd < 0 ? -1 : fd_open_dir(store_fd, "seccomp", true);
}

/* What a container has of its own, before its image is known. */
struct own {
	struct container_dir *dir;
	char hostname[64];
	int file_trees[CONTAINER_DIR_FILES];
};

static void own_free(struct own *o)
{
	for (size_t i = 0; i < CONTAINER_DIR_FILES; i++)
		fd_close(&o->file_trees[i]);
	container_dir_free(&o->dir);
}

static int make_own(const struct run_options *o, const struct store *s, struct own *own)
{
	int r = container_dir_new(s->store_path, o->upper, &own->dir);

	if (r < 0)
		return r;
	image_container_hostname(o, own->dir->id, own->hostname);
	return container_dir_files(own->dir, own->hostname, o->own_network, own->file_trees);
}

static int make_config(struct config *c, const struct run_options *o, const struct store *s,
		       const struct ensure_result *result, struct own *own)
{
	_cleanup_(image_config_free) struct image_config *image = NULL;
	_cleanup_(fd_free_memory) char *tree = NULL;
	_cleanup_(fd_close) int seccomp_fd = -1;
	const char *lowers[2] = {NULL, NULL};
	int r = read_image_config(s, result, o->ensure.image, &image);

	if (r < 0)
		return r;
	if (asprintf(&tree, "%s/fs/images/%s", s->run_path, result->image_key) < 0) {
		tree = NULL;
		return fail(ENOMEM, "out of memory");
	}
	lowers[0] = tree;
	if (o->seccomp_profile || o->cap_add.n_texts || o->cap_drop.n_texts)
		seccomp_fd = open_seccomp_cache(s->store_path);
	return image_container_build(c, o, image,
				     &(struct image_container_place){own->dir, lowers, own->file_trees, seccomp_fd});
}

/* Asks the server for the image and makes what is the container's own side by side, where no namespace of the
 * server's has to be entered in between. */
static int prepare(const struct run_options *o, const struct store *s, struct ensure_result **result, struct own *own)
{
	const bool joins = client_has_to_join();
	int r = ensure_begin(s, &o->ensure, ENSURE_IMAGE, result);

	if (r == 0 && !joins)
		r = make_own(o, s, own);
	if (r == 0)
		r = ensure_finish(&o->ensure, ENSURE_IMAGE, *result);
	if (r == 0 && joins)
		r = client_join((*result)->client);
	if (r == 0 && joins)
		r = make_own(o, s, own);
	return r == 0 ? container_dir_set_image(own->dir, (*result)->image_key) : r;
}

/* Who waits for the command waits for its end, so what takes its time then is made ready while the container runs. */
static int run_container(struct config *c, int timeout, const struct ensure_result *result, struct container_dir *dir,
			 int *ret_status)
{
	_cleanup_(container_free) struct container *k = NULL;
	_cleanup_(fd_close) int left_fd = -1;
	int r = container_start(c, 1000 * (timeout ? timeout : CLIENT_TIMEOUT), &k);

	if (r < 0)
		return r;
	if (container_executed(k, &left_fd) == 0)
		container_dir_leave(dir, left_fd);
	r = container_wait(k, ret_status);
	return r == -ETIMEDOUT ? client_blame(result->client, "the container's first bytes") : r;
}

/* What lies only in memory is not freed: the process ends, and to write into pages that the remover shares copies them. */
static int run(const struct run_options *o, int *ret_status)
{
	static struct store *s;
	static struct ensure_result *result;
	static struct config c;
	_cleanup_(own_free) struct own own = {.file_trees = {-1, -1, -1}};
	int timeout, r = session_timeout(&timeout);

	if (r == 0)
		r = store_open(NULL, NULL, true, &s);
	if (r == 0)
		r = prepare(o, s, &result, &own);
	if (r < 0)
		return r;
	config_init(&c);
	r = make_config(&c, o, s, result, &own);
	if (r == 0) {
		note_network(o);
		r = run_container(&c, timeout, result, own.dir, ret_status);
	}
	return r;
}

int cmd_run(int argc, char **argv)
{
	static struct run_options o;
	int status = COMMAND_EXIT_FAILED, r = run_options_parse(argc, argv, &o);

	if (r != 0)
		return r < 0 ? r : 0;
	r = run(&o, &status);
	if (r < 0 && !report_any())
		fail(-r, "%s: %s", o.ensure.image, strerror(-r));
	return status;
}
