/* Every operation works from the names: a layer or blob that no name reaches any more may go. */
#include "fetch/keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "cache/layer_sources.h"
#include "fetch/image.h"
#include "fetch/span_digests.h"
#include "fetch/users.h"

/* The images of the store, or of one reference in it. Broken ones are passed over. */
struct image_list {
	struct image **images;
	size_t n, n_broken;
};

static void image_list_free(struct image_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		image_free(&l->images[i]);
	free(l->images);
	*l = (struct image_list){0};
}

static int load(struct context *c, const char *only, const char *except, struct image_list *ret)
{
	_cleanup_(fd_free_memory) struct name_entry *names = NULL;
	_cleanup_(image_list_free) struct image_list l = {0};
	size_t n = 0;
	int r = names_list(c->store, &names, &n);

	if (r < 0)
		return fail(-r, "%s/names cannot be read: %s", c->store->store_path, strerror(-r));
	l.images = calloc(n + 1, sizeof(*l.images));
	if (!l.images)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		char text[REPORT_TEXT_SIZE], *outer;
		struct reference ref;

		if ((only && strcmp(names[i].reference, only) != 0) ||
		    (except && strcmp(names[i].reference, except) == 0))
			continue;
		outer = report_capture(text); /* what is broken here is said when it is used */
		r = reference_parse(names[i].reference, &ref);
		if (r == 0)
			r = image_resolve(c, &ref, names[i].platform, IMAGE_PULL_NEVER, NULL, &l.images[l.n]);
		report_capture_again(outer);
		if (r < 0) {
			l.n_broken++;
			continue;
		}
		l.images[l.n]->name.checked = names[i].checked;
		l.n++;
	}
	*ret = l;
	l = (struct image_list){0};
	return 0;
}

static struct json_object *describe(struct context *c, const struct image *image)
{
	struct json_object *o = json_object_new_object();
	uint64_t size = 0, present = 0, total = 0;
	char text[DIGEST_TEXT_MAX];

	for (size_t i = 0; i < image->n_layers; i++) {
		_cleanup_(layer_store_free) struct layer_store *layer = NULL;

		size += image->layers[i].blob.size;
		if (layer_table_get(c->layers, image->layers[i].key, &layer) < 0 ||
		    !layer_store_is_whole(c->store, layer))
			continue;
		present += layer_store_bytes_present(layer);
		total += layer_store_size(layer);
	}
	json_object_object_add(o, "reference", json_object_new_string(image->name.reference));
	json_object_object_add(o, "platform", json_object_new_string(image->name.platform));
	json_object_object_add(o, "manifest_digest",
			       json_object_new_string(digest_text(&image->name.manifest, text)));
	json_object_object_add(o, "config_digest", json_object_new_string(digest_text(&image->config, text)));
	json_object_object_add(o, "image_key", json_object_new_string(image->key));
	json_object_object_add(o, "checked", json_object_new_int64(image->name.checked));
	json_object_object_add(o, "layers", json_object_new_int64((int64_t)image->n_layers));
	json_object_object_add(o, "size", json_object_new_int64((int64_t)size));
	json_object_object_add(o, "present", json_object_new_int64((int64_t)present));
	json_object_object_add(o, "total", json_object_new_int64((int64_t)total));
	return o;
}

int keep_list(struct context *c, struct json_object **ret)
{
	_cleanup_(image_list_free) struct image_list l = {0};
	int r = load(c, NULL, NULL, &l);

	if (r < 0)
		return r;
	*ret = json_object_new_array();
	for (size_t i = 0; i < l.n; i++)
		json_object_array_add(*ret, describe(c, l.images[i]));
	return 0;
}

static int load_named(struct context *c, const struct reference *ref, struct image_list *ret)
{
	char text[LIMIT_PATH_SIZE + 512];
	int r = load(c, reference_text(ref, text), NULL, ret);

	if (r == 0 && ret->n == 0)
		return fail(ENOENT, "%s is not in the store; \"lazyrun images\" lists what is", text);
	return r;
}

static int punch_spans(struct layer_store *layer, uint64_t *evicted)
{
	const struct span_table *t = layer_store_spans(layer);
	uint64_t before = layer_store_bytes_present(layer);
	_cleanup_(fd_free_memory) struct layer_range *ranges = calloc(span_table_count(t) + 1, sizeof(*ranges));
	size_t n = 0;
	int r;

	if (!ranges)
		return -ENOMEM;
	for (size_t i = 0; i < span_table_count(t); i++) {
		struct span span;

		span_table_get(t, i, &span);
		if (span.kind == SPAN_STORED)
			ranges[n++] = (struct layer_range){span.off, span.size};
	}
	r = layer_store_punch(layer, ranges, n);
	*evicted += before - layer_store_bytes_present(layer);
	return r;
}

static int evict_layer(struct context *c, const struct image_layer *l, uint64_t *evicted, const char **ret_why)
{
	_cleanup_(layer_sources_free) char **names = NULL;
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;
	uint32_t number;
	size_t n = 0;
	int r;

	*ret_why = NULL;
	if (layer_table_get(c->layers, l->key, &layer) < 0)
		return 0;
	if (layer_sources_get(c->store, l->key, &names, &n) < 0 || n == 0) {
		*ret_why = "compressed, and without checkpoints yet: its bytes have no way back";
		return 0;
	}
	r = span_digests_make(c->store, layer);
	if (r == 1) {
		layer_table_drop(c->layers, l->key);
		layer_store_free(&layer);
		r = layer_table_get(c->layers, l->key, &layer);
	}
	if (r == 0)
		r = punch_spans(layer, evicted);
	if (number_table_find_layer(c->numbers, l->key, &number) == 0)
		context_tell_server(c, NEED_DROP_PAGES, number);
	if (r < 0)
		return fail(-r, "layer %s cannot be evicted: %s%s", l->key, strerror(-r),
			    r == -EOPNOTSUPP ? " (this file system cannot punch holes)" : "");
	return 0;
}

/* The flight lock keeps streaming out: it must not complete a layer whose pages go away. */
int keep_evict(struct context *c, const struct reference *ref, struct json_object *answer)
{
	_cleanup_(image_list_free) struct image_list l = {0};
	struct json_object *kept = json_object_new_array();
	uint64_t evicted = 0;
	int r = load_named(c, ref, &l);

	json_object_object_add(answer, "kept", kept);
	if (r < 0)
		return r;
	pthread_mutex_lock(&c->store_lock);
	pthread_mutex_lock(&c->flight_lock);
	if (c->flights)
		r = fail(EBUSY, "images are being fetched right now; evict when that is done");
	for (size_t i = 0; r == 0 && i < l.n; i++)
		for (size_t n = 0; r == 0 && n < l.images[i]->n_layers; n++) {
			const char *why;

			r = evict_layer(c, &l.images[i]->layers[n], &evicted, &why);
			if (r < 0 || !why)
				continue;
			struct json_object *o = json_object_new_object();

			json_object_object_add(o, "layer", json_object_new_string(l.images[i]->layers[n].key));
			json_object_object_add(o, "why", json_object_new_string(why));
			json_object_array_add(kept, o);
		}
	pthread_mutex_unlock(&c->flight_lock);
	pthread_mutex_unlock(&c->store_lock);
	json_object_object_add(answer, "evicted_bytes", json_object_new_int64((int64_t)evicted));
	return r;
}

static bool image_has_layer(const struct image *image, const char *key)
{
	for (size_t n = 0; n < image->n_layers; n++)
		if (strcmp(image->layers[n].key, key) == 0)
			return true;
	return false;
}

/* A container or mount of an image that has lost its name, because its tag was moved, uses its layers still. */
static bool user_has_layer(const struct context *c, const struct users *u, const char *key)
{
	for (size_t i = 0; i < u->n; i++) {
		const char *image_key, *layer_key;
		const uint32_t *layers;
		uint32_t number;
		size_t n = 0;

		if (number_table_find_image(c->numbers, u->list[i].image_key, &number) < 0 ||
		    number_table_image(c->numbers, number, &image_key, &layers, &n) < 0)
			continue;
		for (size_t at = 0; at < n; at++)
			if (number_table_layer(c->numbers, layers[at], &layer_key) == 0 &&
			    strcmp(layer_key, key) == 0)
				return true;
	}
	return false;
}

static bool all_known(const struct context *c, const struct users *u)
{
	uint32_t number;

	for (size_t i = 0; i < u->n; i++)
		if (number_table_find_image(c->numbers, u->list[i].image_key, &number) < 0)
			return false;
	return true;
}

/* What a removal leaves alone. */
struct stay {
	struct image_list images; /* with other names */
	struct users users;
};

static void stay_free(struct stay *s)
{
	image_list_free(&s->images);
	users_free(&s->users);
}

static bool uses_layer(const struct context *c, const struct stay *stay, const char *key)
{
	const struct image_list *l = &stay->images;

	if (user_has_layer(c, &stay->users, key))
		return true;
	for (size_t i = 0; i < l->n; i++)
		if (image_has_layer(l->images[i], key))
			return true;
	for (const struct pending *p = c->pending; p; p = p->next)
		if (image_has_layer(p->image, key))
			return true;
	return false;
}

static bool uses_image_key(const struct context *c, const struct stay *stay, const char *key)
{
	const struct image_list *l = &stay->images;

	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->images[i]->key, key) == 0)
			return true;
	for (const struct pending *p = c->pending; p; p = p->next)
		if (strcmp(p->image->key, key) == 0)
			return true;
	return false;
}

static bool image_has_blob(const struct image *image, const struct digest *d)
{
	return digest_equal(&image->name.digest, d) || digest_equal(&image->name.manifest, d) ||
	       digest_equal(&image->config, d);
}

static bool uses_blob(const struct context *c, const struct stay *stay, const struct digest *d)
{
	const struct image_list *l = &stay->images;

	for (size_t i = 0; i < l->n; i++)
		if (image_has_blob(l->images[i], d))
			return true;
	for (const struct pending *p = c->pending; p; p = p->next)
		if (image_has_blob(p->image, d))
			return true;
	return false;
}

static int remove_layer(struct context *c, const char *key, uint64_t *freed)
{
	char aside[LAYER_KEY_SIZE + 8];
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;
	struct stat st;
	uint32_t number;
	int r;

	snprintf(aside, sizeof(aside), "gone-%s", key);
	if (layer_table_get(c->layers, key, &layer) == 0)
		*freed += layer_store_bytes_present(layer);
	if (fstatat(c->store->layers_fd, key, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	/* One rename takes it away whole; what is left of `aside` after a crash is removed at start. */
	fd_remove_tree(c->store->tmp_fd, aside);
	if (renameat(c->store->layers_fd, key, c->store->tmp_fd, aside) < 0)
		return fail(errno, "layer %s cannot be removed: %s", key, strerror(errno));
	if (number_table_find_layer(c->numbers, key, &number) == 0) {
		number_table_remove_layer(c->numbers, number);
		context_tell_server(c, NEED_INVALIDATE_LAYER, number);
	}
	layer_table_drop(c->layers, key);
	r = fd_remove_tree(c->store->tmp_fd, aside);
	return r < 0 ? fail(-r, "layer %s: %s", key, strerror(-r)) : 1;
}

static int remove_image(struct context *c, const struct image *image, const struct stay *stay,
			uint64_t *freed, int *n_layers)
{
	const struct digest *blobs[] = {&image->name.digest, &image->name.manifest, &image->config};
	char name[DIGEST_HEX_MAX + 1];
	uint32_t number;
	int r = names_remove(c->store, &image->name);

	if (r < 0)
		return r;
	if (!uses_image_key(c, stay, image->key) &&
	    number_table_find_image(c->numbers, image->key, &number) == 0) {
		number_table_remove_image(c->numbers, number);
		context_tell_server(c, NEED_INVALIDATE_IMAGE, number);
	}
	for (size_t i = 0; i < image->n_layers; i++) {
		if (uses_layer(c, stay, image->layers[i].key))
			continue;
		r = remove_layer(c, image->layers[i].key, freed);
		if (r < 0)
			return r;
		*n_layers += r;
	}
	for (size_t i = 0; i < sizeof(blobs) / sizeof(blobs[0]); i++)
		if (!uses_blob(c, stay, blobs[i]))
			unlinkat(c->store->blobs_fd, digest_hex(blobs[i], name), 0);
	return 0;
}

/* Layers of images whose tag was moved, or whose fetching failed half-way. Only when it is sure who needs what. */
static void remove_nameless(struct context *c, const struct stay *stay, uint64_t *freed, int *n_layers)
{
	int fd = openat(c->store->layers_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir)
		fd_close(&fd);
	while (dir && !stay->images.n_broken && all_known(c, &stay->users) && (d = readdir(dir)))
		if (d->d_name[0] != '.' && strlen(d->d_name) < LAYER_KEY_SIZE && !uses_layer(c, stay, d->d_name) &&
		    remove_layer(c, d->d_name, freed) > 0)
			++*n_layers;
	if (dir)
		closedir(dir);
}

int keep_remove(struct context *c, const struct reference *ref, struct json_object *answer)
{
	_cleanup_(image_list_free) struct image_list ours = {0};
	_cleanup_(stay_free) struct stay stay = {0};
	char text[LIMIT_PATH_SIZE + 512];
	uint64_t freed = 0;
	int n_layers = 0, r;

	pthread_mutex_lock(&c->store_lock);
	r = load_named(c, ref, &ours);
	if (r == 0)
		r = load(c, NULL, reference_text(ref, text), &stay.images);
	if (r == 0)
		r = users_list(c->store, c->holds, &stay.users);
	for (size_t i = 0; r == 0 && i < ours.n; i++)
		if (!uses_image_key(c, &stay, ours.images[i]->key))
			r = users_check(&stay.users, ours.images[i]->key, text);
	for (size_t i = 0; r == 0 && i < ours.n; i++)
		r = remove_image(c, ours.images[i], &stay, &freed, &n_layers);
	if (r == 0)
		remove_nameless(c, &stay, &freed, &n_layers);
	pthread_mutex_unlock(&c->store_lock);
	json_object_object_add(answer, "removed_layers", json_object_new_int(n_layers));
	json_object_object_add(answer, "freed_bytes", json_object_new_int64((int64_t)freed));
	return r;
}
