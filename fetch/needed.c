/* Everything starts from the names: what no name, user or pending request reaches is not needed. */
#include "fetch/needed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/report.h"

void needed_images_free(struct needed_images *l)
{
	for (size_t i = 0; i < l->n; i++)
		image_free(&l->images[i]);
	free(l->images);
	free(l->broken);
	*l = (struct needed_images){0};
}

int needed_images_load(struct context *c, const char *only, const char *except, struct needed_images *ret)
{
	_cleanup_(fd_free_memory) struct name_entry *names = NULL;
	_cleanup_(needed_images_free) struct needed_images l = {0};
	size_t n = 0;
	int r = names_list(c->store, &names, &n);

	if (r < 0)
		return fail(-r, "%s/names cannot be read: %s", c->store->store_path, strerror(-r));
	l.images = calloc(n + 1, sizeof(*l.images));
	l.broken = calloc(n + 1, sizeof(*l.broken));
	if (!l.images || !l.broken)
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
			r = image_resolve(c, &(struct image_want){.ref = &ref, .platform = names[i].platform, .pull = IMAGE_PULL_NEVER},
					  NULL, &l.images[l.n]);
		report_capture_again(outer);
		if (r < 0) {
			l.broken[l.n_broken++] = names[i];
			if (r != -ENOENT && r != -EBADMSG && r != -EINVAL)
				l.unsure = -r;
			continue;
		}
		l.images[l.n]->name.checked = names[i].checked;
		l.n++;
	}
	*ret = l;
	l = (struct needed_images){0};
	return 0;
}

int needed_load(struct context *c, const char *except, struct needed *ret)
{
	_cleanup_(needed_free) struct needed n = {0};
	int r = needed_images_load(c, NULL, except, &n.images);

	if (r == 0 && n.images.unsure)
		return fail(n.images.unsure, "not everything in %s can be read just now (%s), so it is not sure what may go",
			    c->store->store_path, strerror(n.images.unsure));
	if (r == 0)
		r = users_list(c->store, c->holds, &n.users);
	if (r < 0)
		return r;
	*ret = n;
	n = (struct needed){0};
	return 0;
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

void needed_free(struct needed *n)
{
	needed_images_free(&n->images);
	users_free(&n->users);
}

bool needed_user_layer(const struct context *c, const struct needed *n, const char *key)
{
	return user_has_layer(c, &n->users, key);
}

bool needed_layer(const struct context *c, const struct needed *n, const char *key)
{
	const struct needed_images *l = &n->images;

	if (user_has_layer(c, &n->users, key))
		return true;
	for (size_t i = 0; i < l->n; i++)
		if (image_has_layer(l->images[i], key))
			return true;
	for (const struct pending *p = c->pending; p; p = p->next)
		if (image_has_layer(p->image, key))
			return true;
	return false;
}

bool needed_image_key(const struct context *c, const struct needed *n, const char *key)
{
	const struct needed_images *l = &n->images;

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
	       digest_equal(&image->config, d) || digest_equal(&image->artifact, d) ||
	       digest_equal(&image->soci, d);
}

bool needed_blob(const struct context *c, const struct needed *n, const struct digest *d)
{
	const struct needed_images *l = &n->images;

	for (size_t i = 0; i < l->n; i++)
		if (image_has_blob(l->images[i], d))
			return true;
	for (const struct pending *p = c->pending; p; p = p->next)
		if (image_has_blob(p->image, d))
			return true;
	return false;
}

bool needed_is_sure(const struct context *c, const struct needed *n)
{
	return n->images.n_broken == 0 && all_known(c, &n->users);
}
