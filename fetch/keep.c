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
#include "fetch/evict.h"
#include "fetch/first_touch.h"
#include "fetch/lazy.h"
#include "fetch/soci.h"
#include "fetch/needed.h"

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
	_cleanup_(needed_images_free) struct needed_images l = {0};
	int r = needed_images_load(c, NULL, NULL, &l);

	if (r < 0)
		return r;
	*ret = json_object_new_array();
	for (size_t i = 0; i < l.n; i++)
		json_object_array_add(*ret, describe(c, l.images[i]));
	return 0;
}

static int load_named(struct context *c, const struct reference *ref, struct needed_images *ret)
{
	char text[LIMIT_PATH_SIZE + 512];
	int r = needed_images_load(c, reference_text(ref, text), NULL, ret);

	if (r == 0 && ret->n == 0 && ret->unsure)
		return fail(ret->unsure, "%s cannot be read from the store just now: %s", text, strerror(ret->unsure));
	if (r == 0 && ret->n == 0)
		return fail(ENOENT, "%s is not in the store; \"lazyrun images\" lists what is", text);
	return r;
}

/* The flight lock keeps streaming out: it must not complete a layer whose pages go away. */
int keep_evict(struct context *c, const struct reference *ref, struct json_object *answer)
{
	_cleanup_(needed_images_free) struct needed_images l = {0};
	struct json_object *kept = json_object_new_array();
	uint64_t evicted = 0;
	int r = load_named(c, ref, &l);

	json_object_object_add(answer, "kept", kept);
	if (r < 0)
		return r;
	first_touch_end(c->touches);
	pthread_mutex_lock(&c->store_lock);
	pthread_mutex_lock(&c->flight_lock);
	if (c->flights)
		r = fail(EBUSY, "images are being fetched right now; evict when that is done");
	for (size_t i = 0; r == 0 && i < l.n; i++)
		for (size_t n = 0; r == 0 && n < l.images[i]->n_layers; n++) {
			const char *why;

			r = evict_layer(c, l.images[i]->layers[n].key, &evicted, &why);
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

int keep_remove_layer(struct context *c, const char *key, uint64_t *freed)
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

static int remove_image(struct context *c, const struct image *image, const struct needed *stay,
			uint64_t *freed, int *n_layers)
{
	const struct digest *blobs[] = {&image->name.digest, &image->name.manifest, &image->config};
	char name[DIGEST_HEX_MAX + 1];
	uint32_t number;
	int r = names_remove(c->store, &image->name);

	if (r < 0)
		return r;
	if (!needed_image_key(c, stay, image->key) &&
	    number_table_find_image(c->numbers, image->key, &number) == 0) {
		number_table_remove_image(c->numbers, number);
		context_tell_server(c, NEED_INVALIDATE_IMAGE, number);
	}
	for (size_t i = 0; i < image->n_layers; i++) {
		if (needed_layer(c, stay, image->layers[i].key))
			continue;
		r = keep_remove_layer(c, image->layers[i].key, freed);
		if (r < 0)
			return r;
		*n_layers += r;
	}
	if (image->artifact.algorithm == DIGEST_NONE || !needed_blob(c, stay, &image->artifact))
		lazy_forget(c->store, image);
	if (image->soci.algorithm == DIGEST_NONE || !needed_blob(c, stay, &image->soci))
		soci_forget(c->store, image);
	if (!needed_blob(c, stay, &image->name.manifest))
		first_touch_forget(c->touches, &image->name.manifest);
	for (size_t i = 0; i < sizeof(blobs) / sizeof(blobs[0]); i++)
		if (!needed_blob(c, stay, blobs[i]))
			unlinkat(c->store->blobs_fd, digest_hex(blobs[i], name), 0);
	return 0;
}

/* Layers of images whose tag was moved, or whose fetching failed half-way. Only when it is sure who needs what. */
static void remove_nameless(struct context *c, const struct needed *stay, uint64_t *freed, int *n_layers)
{
	int fd = openat(c->store->layers_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir)
		fd_close(&fd);
	while (dir && needed_is_sure(c, stay) && (d = readdir(dir)))
		if (d->d_name[0] != '.' && strlen(d->d_name) < LAYER_KEY_SIZE && !needed_layer(c, stay, d->d_name) &&
		    keep_remove_layer(c, d->d_name, freed) > 0)
			++*n_layers;
	if (dir)
		closedir(dir);
}

int keep_remove(struct context *c, const struct reference *ref, bool again, struct json_object *answer)
{
	_cleanup_(needed_images_free) struct needed_images ours = {0};
	_cleanup_(needed_free) struct needed stay = {0};
	char text[LIMIT_PATH_SIZE + 512];
	uint64_t freed = 0;
	int n_layers = 0, r;
	bool gone;

	pthread_mutex_lock(&c->store_lock);
	r = load_named(c, ref, &ours);
	gone = again && r == -ENOENT && !ours.unsure;
	if (r == 0 || gone) /* what the one that removed it has left is removed in any case */
		r = needed_load(c, reference_text(ref, text), &stay);
	for (size_t i = 0; r == 0 && i < ours.n; i++)
		if (!needed_image_key(c, &stay, ours.images[i]->key))
			r = users_check(&stay.users, ours.images[i]->key, text);
	for (size_t i = 0; r == 0 && i < ours.n; i++)
		r = remove_image(c, ours.images[i], &stay, &freed, &n_layers);
	if (r == 0)
		remove_nameless(c, &stay, &freed, &n_layers);
	pthread_mutex_unlock(&c->store_lock);
	json_object_object_add(answer, "removed_layers", json_object_new_int(n_layers));
	json_object_object_add(answer, "freed_bytes", json_object_new_int64((int64_t)freed));
	json_object_object_add(answer, "gone", json_object_new_boolean(gone));
	return r;
}

/* The store_lock is held. */
static int make_tar(struct context *c, const char *key, const char *tar_key)
{
	uint32_t number;

	if (renameat2(c->store->layers_fd, key, c->store->layers_fd, tar_key, RENAME_NOREPLACE) < 0)
		return errno == EEXIST ? 0 : fail(errno, "layer %s cannot be renamed: %s", key, strerror(errno));
	if (number_table_find_layer(c->numbers, key, &number) == 0) {
		number_table_remove_layer(c->numbers, number);
		context_tell_server(c, NEED_INVALIDATE_LAYER, number);
	}
	layer_table_drop(c->layers, key);
	return 0;
}

int keep_make_tar(struct context *c, const char *key, const char *tar_key)
{
	_cleanup_(needed_free) struct needed n = {0};
	int r;

	/* Nobody is about to use it: who makes an image has the lock until its name is there. */
	if (pthread_rwlock_trywrlock(&c->ensure_lock) != 0)
		return -EBUSY;
	r = needed_load(c, NULL, &n);
	if (r == 0 && (!needed_is_sure(c, &n) || needed_user_layer(c, &n, key)))
		r = -EBUSY;
	if (r == 0) {
		pthread_mutex_lock(&c->store_lock);
		r = make_tar(c, key, tar_key);
		pthread_mutex_unlock(&c->store_lock);
	}
	pthread_rwlock_unlock(&c->ensure_lock);
	return r;
}
