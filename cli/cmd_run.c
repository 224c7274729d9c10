/* `lazyrun [run] IMAGE [CMD...]`: an image and a container meet. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "cli/command_table.h"
#include "cli/container_dir.h"
#include "cli/ensure.h"
#include "cli/image_container.h"
#include "cli/keeper.h"
#include "cli/run_options.h"
#include "cli/session.h"
#include "cli/spare.h"
#include "runtime/container.h"
#include "runtime/stage.h"

/* Said once, where a person reads it: everything else of a container is its own. */
static void note_network(const struct run_options *o)
{
	if (!o->own_network && !o->ensure.quiet && isatty(STDERR_FILENO))
		report_note("the container shares this host's network; --net=none gives it none");
}

static int read_image_config(const struct store *s, const struct digest *digest, const char *name,
			     struct image_config **ret)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	int r = ensure_read_blob(s, digest, LIMIT_CONFIG_SIZE, &b);

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
	int file_trees[CONTAINER_DIR_FILES];
	struct bytes facts; /* of a stage that will do; empty: none will */
	struct stage stage; /* STAGE_NONE: none, or used up */
	struct spare_image promised; /* of the stage; no key: there was none */
};

/* What lies only in memory is not freed: the process ends, and to write into pages that the remover shares copies them. */
struct run {
	const struct run_options *o;
	struct store *s;
	struct ensure_result *result;
	struct own own;
	struct config config;
	struct container *k;
};

static void run_free(struct run *r)
{
	container_free(&r->k);
	for (size_t i = 0; i < CONTAINER_DIR_FILES; i++)
		fd_close(&r->own.file_trees[i]);
	stage_free(&r->own.stage);
	container_dir_free(&r->own.dir);
}

static int make_files(const struct run *r, int ret_trees[static CONTAINER_DIR_FILES])
{
	char hostname[64];

	image_container_hostname(r->o, r->own.dir->id, hostname);
	return container_dir_files(r->own.dir, hostname, r->o->own_network, ret_trees);
}

static int make_dir(struct run *r, const struct bytes *facts)
{
	int err = container_dir_new(r->s->store_path, r->o->upper, facts, &r->own.dir);

	return err < 0 || r->own.dir->keeper_fd >= 0 ? err : make_files(r, r->own.file_trees);
}

/* An earlier container's end may have left both a directory and a stage on it. */
static int make_own(struct run *r)
{
	struct own *own = &r->own;
	int err = spare_facts(r->o, r->s->run_path, &own->facts);

	err = err < 0 ? fail(-err, "out of memory") : make_dir(r, &own->facts);
	if (err < 0 || own->dir->keeper_fd < 0 || keeper_take(own->dir, &own->promised, &own->stage) == 0)
		return err;
	container_dir_free(&own->dir);
	return make_dir(r, NULL);
}

static int make_config(struct run *r, const struct spare_image *from)
{
	_cleanup_(image_config_free) struct image_config *image = NULL;
	_cleanup_(fd_free_memory) char *tree = NULL;
	_cleanup_(fd_close) int seccomp_fd = -1;
	const char *lowers[2] = {NULL, NULL};
	int err = read_image_config(r->s, &from->config_digest, r->o->ensure.image, &image);

	if (err < 0)
		return err;
	if (asprintf(&tree, "%s/fs/images/%s", r->s->run_path, from->key) < 0) {
		tree = NULL;
		return fail(ENOMEM, "out of memory");
	}
	lowers[0] = tree;
	if (r->o->seccomp_profile || r->o->cap_add.n_texts || r->o->cap_drop.n_texts)
		seccomp_fd = open_seccomp_cache(r->s->store_path);
	config_init(&r->config);
	return image_container_build(&r->config, r->o, image,
				     &(struct image_container_place){r->own.dir, lowers, r->own.file_trees, seccomp_fd});
}

/* Its init makes what it needs and waits. */
static int make_container(struct run *r, const struct spare_image *image)
{
	struct stage *stage = r->own.stage.fds[0] >= 0 ? &r->own.stage : NULL;
	int err = container_dir_set_image(r->own.dir, image->key);

	if (err == 0)
		err = make_config(r, image);
	return err < 0 ? err : container_start(&r->config, stage, &r->k);
}

/* By what the stage promises, while the server still looks. What fails here is said when it fails again. */
static void make_early(struct run *r)
{
	char text[REPORT_TEXT_SIZE];

	report_capture(text);
	if (r->own.promised.key[0] && make_container(r, &r->own.promised) < 0)
		report_forget();
	report_capture(NULL);
}

static int make_anew(struct run *r)
{
	container_free(&r->k);
	config_free(&r->config);
	stage_free(&r->own.stage);
	container_dir_free(&r->own.dir);
	r->own.promised = (struct spare_image){0};
	return make_dir(r, NULL);
}

static struct spare_image answered(const struct run *r)
{
	struct spare_image image = {.config_digest = r->result->config_digest,
				    .number = r->result->image_number,
				    .server = client_supervisor_pid(r->result->client)};

	snprintf(image.key, sizeof(image.key), "%s", r->result->image_key);
	return image;
}

/* A tree that was removed and came back is another. */
static bool is_as_promised(const struct run *r, const struct spare_image *image)
{
	const struct spare_image *promised = &r->own.promised;

	return strcmp(promised->key, image->key) == 0 && digest_equal(&promised->config_digest, &image->config_digest) &&
	       promised->number == image->number && promised->server == image->server;
}

/* Asks the server for the image and makes the container side by side, where no namespace of the server's has to be
 * entered in between. */
static int start(struct run *r)
{
	const bool joins = client_has_to_join();
	struct spare_image image;
	int err = ensure_begin(r->s, &r->o->ensure, ENSURE_IMAGE, &r->result);

	if (err == 0 && !joins && (err = make_own(r)) == 0)
		make_early(r);
	if (err == 0)
		err = ensure_finish(&r->o->ensure, ENSURE_IMAGE, r->result);
	if (err == 0 && joins && (err = client_join(r->result->client)) == 0)
		err = make_own(r);
	if (err < 0)
		return err;
	image = answered(r);
	if (r->own.promised.key[0] && ((!joins && !r->k) || !is_as_promised(r, &image)))
		err = make_anew(r);
	return err < 0 || r->k ? err : make_container(r, &image);
}

/* Forks; in the child, the spare of the next start. */
static void leave_behind(struct run *r, int left_fd)
{
	const pid_t server = client_supervisor_pid(r->result->client);
	_cleanup_(fd_close) int server_fd = server > 0 ? pidfd_open(server, 0) : -1;
	const struct spare_image image = answered(r);
	int trees[CONTAINER_DIR_FILES] = {-1, -1, -1};

	if (container_dir_leave(r->own.dir, left_fd, server_fd) != 0)
		return;
	if (r->own.facts.size == 0 || server_fd < 0)
		container_dir_end(r->own.dir, true);
	if (make_files(r, trees) < 0 || image_container_renew(&r->config, r->own.dir, trees) < 0)
		container_dir_end(r->own.dir, false);
	keeper_run(r->own.dir, &r->config, &r->own.facts, &image, server_fd);
}

/* Who waits for the command waits for its end, so what takes its time then is made ready while the container runs. */
static int attend(struct run *r, int timeout, int *ret_status)
{
	_cleanup_(fd_close) int left_fd = -1;
	int err = container_go(r->k, 1000 * (timeout ? timeout : CLIENT_TIMEOUT));

	if (err < 0)
		return err;
	if (container_executed(r->k, &left_fd) == 0)
		leave_behind(r, left_fd);
	err = container_wait(r->k, ret_status);
	return err == -ETIMEDOUT ? client_blame(r->result->client, "the container's first bytes") : err;
}

static int run(const struct run_options *o, int *ret_status)
{
	static struct run r = {.own = {.file_trees = {-1, -1, -1}, .stage = {{-1, -1, -1}}}};
	int timeout, err = session_timeout(&timeout);

	r.o = o;
	if (err == 0)
		err = store_open(NULL, NULL, true, &r.s);
	if (err == 0)
		err = start(&r);
	if (err == 0) {
		note_network(o);
		err = attend(&r, timeout, ret_status);
	}
	run_free(&r);
	return err;
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
