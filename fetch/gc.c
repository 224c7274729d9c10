/* One sweep over each directory of the store. */
#include "fetch/gc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/disk_use.h"
#include "base/fd.h"
#include "base/report.h"
#include "cache/profiles.h"
#include "fetch/keep.h"
#include "fetch/needed.h"
#include "fetch/way_back.h"

#define WAIT_SECONDS 10 /* for starts that are under way; a long pull is not waited for */
#define NAMED_MAX 500	/* texts in one answer */

struct gc {
	struct context *context;
	struct needed needed;
	struct json_object *removed; /* {"what", "bytes"} */
	uint64_t n, freed;
	bool dry;
};

static void note(struct gc *g, const char *kind, const char *name, uint64_t bytes)
{
	struct json_object *o;
	char what[600];

	g->n++;
	g->freed += bytes;
	if (json_object_array_length(g->removed) >= NAMED_MAX)
		return;
	snprintf(what, sizeof(what), "%s %.500s", kind, name);
	o = json_object_new_object();
	json_object_object_add(o, "what", json_object_new_string(what));
	json_object_object_add(o, "bytes", json_object_new_int64((int64_t)bytes));
	json_object_array_add(g->removed, o);
}

static uint64_t use(const struct gc *g, const char *directory, const char *name)
{
	_cleanup_(fd_free_memory) char *path = NULL;

	if (asprintf(&path, "%s/%s/%s", g->context->store->store_path, directory, name) < 0) {
		path = NULL;
		return 0;
	}
	return disk_use_tree(path);
}

static DIR *open_list(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		fd_close(&fd);
	return dir;
}

/* Names of which the manifest or the config is gone: the next pull knows them again. */
static int sweep_names(struct gc *g)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < g->needed.images.n_broken; i++) {
		const struct name_entry *e = &g->needed.images.broken[i];

		note(g, "broken image", e->reference, 0);
		if (!g->dry)
			r = names_remove(g->context->store, e);
	}
	if (r == 0)
		g->needed.images.n_broken = 0;
	return r;
}

/* A damaged layer goes even where an image needs it, which fetches it anew; but not from under a container. */
static bool layer_goes(const struct gc *g, const char *key)
{
	if (!layer_store_is_bad(g->context->store, key))
		return !needed_layer(g->context, &g->needed, key);
	return !needed_user_layer(g->context, &g->needed, key);
}

static int sweep_layers(struct gc *g)
{
	DIR *dir = open_list(g->context->store->layers_fd);
	struct dirent *d;
	int r = 0;

	while (dir && r >= 0 && needed_is_sure(g->context, &g->needed) && (d = readdir(dir))) {
		uint64_t freed = 0;

		if (d->d_name[0] == '.' || strlen(d->d_name) >= LAYER_KEY_SIZE || !layer_goes(g, d->d_name))
			continue;
		note(g, "layer", d->d_name, use(g, "layers", d->d_name));
		if (!g->dry)
			r = keep_remove_layer(g->context, d->d_name, &freed);
	}
	if (dir)
		closedir(dir);
	return r < 0 ? r : 0;
}

/* What lies there under the digests of blobs: the blobs, and the profiles of images. */
static int sweep_digests(struct gc *g, int dir_fd, const char *kind, const char *directory)
{
	DIR *dir = dir_fd < 0 ? NULL : open_list(dir_fd);
	struct dirent *d;

	while (dir && (d = readdir(dir))) {
		char text[DIGEST_TEXT_MAX + 16];
		struct digest digest;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		snprintf(text, sizeof(text), "%s:%.130s", strlen(d->d_name) == 64 ? "sha256" : "sha512", d->d_name);
		if (digest_parse(text, strlen(text), &digest) == 0 && needed_blob(g->context, &g->needed, &digest))
			continue;
		note(g, kind, d->d_name, use(g, directory, d->d_name));
		if (!g->dry)
			fd_remove_tree(dir_fd, d->d_name);
	}
	if (dir)
		closedir(dir);
	return 0;
}

/* Nothing is under way (ensure_lock), so all of tmp/ is left over but what ways back are made from; so are compiled
 * seccomp programs, which are compiled again when they are wanted. */
static int sweep_all(struct gc *g, int dir_fd, const char *directory)
{
	DIR *dir = dir_fd < 0 ? NULL : open_list(dir_fd);
	struct dirent *d;

	while (dir && (d = readdir(dir))) {
		char what[300], key[LAYER_KEY_SIZE];

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		if (way_back_waits_for(g->context, d->d_name, key) && needed_layer(g->context, &g->needed, key))
			continue;
		snprintf(what, sizeof(what), "%s/%s", directory, d->d_name);
		note(g, "leftover", what, use(g, directory, d->d_name));
		if (!g->dry)
			fd_remove_tree(dir_fd, d->d_name);
	}
	if (dir)
		closedir(dir);
	return 0;
}

/* Emptied, not removed: with the empty directory the next start also removes the cgroup of its name. */
static void empty_container(struct gc *g, int parent_fd, const char *directory, const char *id)
{
	_cleanup_(fd_close) int fd = openat(parent_fd, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 ? NULL : open_list(fd);
	struct dirent *d;
	bool any = false;

	while (dir && (d = readdir(dir))) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		if (!any)
			note(g, "container", id, use(g, directory, id));
		any = true;
		if (!g->dry)
			fd_remove_tree(fd, d->d_name);
	}
	if (dir)
		closedir(dir);
}

static int sweep_containers(struct gc *g, const char *directory)
{
	_cleanup_(fd_close) int fd = fd_open_dir(g->context->store->store_fd, directory, false);
	DIR *dir = fd < 0 ? NULL : open_list(fd);
	struct dirent *d;

	while (dir && (d = readdir(dir)))
		if (d->d_name[0] != '.')
			empty_container(g, fd, directory, d->d_name);
	if (dir)
		closedir(dir);
	return 0;
}

static int sweep(struct gc *g)
{
	const struct store *s = g->context->store;
	_cleanup_(fd_close) int seccomp_fd = fd_open_dir(s->store_fd, "seccomp", false);
	_cleanup_(fd_close) int profiles_fd = fd_open_dir(s->store_fd, PROFILES_DIRECTORY, false);
	int r = needed_load(g->context, NULL, &g->needed);

	if (r == 0)
		r = sweep_names(g);
	if (r == 0)
		r = sweep_layers(g);
	if (r == 0)
		r = sweep_digests(g, s->blobs_fd, "blob", "blobs/sha256");
	if (r == 0)
		r = sweep_digests(g, profiles_fd, "profiles of", PROFILES_DIRECTORY);
	if (r == 0)
		r = sweep_all(g, s->tmp_fd, "tmp");
	if (r == 0)
		r = sweep_all(g, seccomp_fd, "seccomp");
	if (r == 0)
		r = sweep_containers(g, "containers");
	return r < 0 ? r : sweep_containers(g, "removed");
}

int gc_run(struct context *c, bool dry, struct json_object *answer)
{
	struct gc g = {.context = c, .removed = json_object_new_array(), .dry = dry};
	struct timespec until;
	int r;

	json_object_object_add(answer, "removed", g.removed);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_SECONDS;
	if (pthread_rwlock_timedwrlock(&c->ensure_lock, &until) != 0)
		return fail(EBUSY, "images are being fetched right now; collect when that is done");
	pthread_mutex_lock(&c->store_lock);
	r = sweep(&g);
	pthread_mutex_unlock(&c->store_lock);
	pthread_rwlock_unlock(&c->ensure_lock);
	needed_free(&g.needed);
	json_object_object_add(answer, "n_removed", json_object_new_int64((int64_t)g.n));
	json_object_object_add(answer, "freed_bytes", json_object_new_int64((int64_t)g.freed));
	return r;
}
