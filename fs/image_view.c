/* Two arrays by number, one reference each; files are opened outside the lock. */
#include "fs/image_view.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

struct slots {
	void **by_number;
	uint32_t n;
};

struct image_views {
	const struct store *store;
	const struct number_table *numbers;
	pthread_mutex_t lock; /* guards both */
	struct slots layers, images;
};

int image_view_new(const struct store *store, const struct number_table *numbers, struct image_views **ret)
{
	struct image_views *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->store = store;
	v->numbers = numbers;
	pthread_mutex_init(&v->lock, NULL);
	*ret = v;
	return 0;
}

void image_view_layer_close(struct image_view_layer **layer)
{
	struct image_view_layer *l = *layer;

	*layer = NULL;
	if (!l || atomic_fetch_sub(&l->references, 1) != 1)
		return;
	layer_store_free(&l->store);
	free(l->refused);
	free(l);
}

void image_view_close(struct image_view **image)
{
	struct image_view *i = *image;

	*image = NULL;
	if (!i || atomic_fetch_sub(&i->references, 1) != 1)
		return;
	for (size_t at = 0; at < i->n_layers; at++)
		image_view_layer_close(&i->layers[at]);
	free(i);
}

void image_view_free(struct image_views **views)
{
	struct image_views *v = *views;

	if (!v)
		return;
	for (uint32_t i = 0; i < v->images.n; i++)
		image_view_close((struct image_view **)&v->images.by_number[i]);
	for (uint32_t i = 0; i < v->layers.n; i++)
		image_view_layer_close((struct image_view_layer **)&v->layers.by_number[i]);
	free(v->images.by_number);
	free(v->layers.by_number);
	pthread_mutex_destroy(&v->lock);
	free(v);
	*views = NULL;
}

/* Under the lock. The slot of a number, made when there is none. */
static void **slot(struct slots *s, uint32_t number)
{
	if (number >= s->n) {
		uint32_t n = (number / 64 + 1) * 64;
		void **grown = reallocarray(s->by_number, n, sizeof(*grown));

		if (!grown)
			return NULL;
		memset(grown + s->n, 0, (n - s->n) * sizeof(*grown));
		s->by_number = grown;
		s->n = n;
	}
	return &s->by_number[number];
}

/* Both kinds begin with their reference count. */
static void *take_from(struct image_views *v, struct slots *s, uint32_t number)
{
	atomic_uint *found;

	pthread_mutex_lock(&v->lock);
	found = number < s->n ? s->by_number[number] : NULL;
	if (found)
		atomic_fetch_add(found, 1);
	pthread_mutex_unlock(&v->lock);
	return found;
}

/* Puts `made` into its slot, or takes what another thread has put there meanwhile. */
static void *put_into(struct image_views *v, struct slots *s, uint32_t number, void *made)
{
	void **at, *kept = made;

	pthread_mutex_lock(&v->lock);
	at = slot(s, number);
	if (at && *at)
		kept = *at;
	else if (at)
		*at = made;
	if (at)
		atomic_fetch_add((atomic_uint *)kept, 1);
	pthread_mutex_unlock(&v->lock);
	return kept;
}

int image_view_layer_open(struct image_views *v, uint32_t number, struct image_view_layer **ret)
{
	_cleanup_(image_view_layer_close) struct image_view_layer *l = NULL;
	struct image_view_layer *kept;
	const char *key;

	*ret = take_from(v, &v->layers, number);
	if (*ret)
		return 0;
	if (number_table_layer(v->numbers, number, &key) < 0)
		return -ESTALE;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->references = 1;
	l->number = number;
	if (layer_store_open(v->store, key, false, &l->store) < 0)
		return -EIO;
	kept = put_into(v, &v->layers, number, l);
	if (kept == l)
		l = NULL;
	/* Removed meanwhile, and perhaps dropped before it stood here: then nobody would drop it again. */
	if (number_table_layer(v->numbers, number, &key) < 0)
		image_view_drop_layer(v, number);
	*ret = kept;
	return 0;
}

struct image_view_layer *image_view_layer_again(struct image_view_layer *l)
{
	atomic_fetch_add(&l->references, 1);
	return l;
}

/* FNV-1a: only that two images' directories are unlikely to look the same to a stored file handle. */
static uint32_t hash_key(const char *key)
{
	uint32_t h = 2166136261u;

	for (; *key; key++)
		h = (h ^ (uint8_t)*key) * 16777619u;
	return h;
}

static int fill_view(struct image_views *v, struct image_view *i)
{
	const struct erofs_read *indexes[LIMIT_LAYERS];
	const uint32_t *numbers;
	const char *key;
	size_t n, key_size;

	if (number_table_image(v->numbers, i->number, &key, &numbers, &n) < 0)
		return -ESTALE;
	key_size = strnlen(key, sizeof(i->key)); /* once: the fetcher can write there */
	if (n == 0 || key_size == sizeof(i->key))
		return -EIO;
	memcpy(i->key, key, key_size);
	i->key[key_size] = '\0';
	i->generation_seed = hash_key(i->key);
	for (; i->n_layers < n; i->n_layers++) {
		int r = image_view_layer_open(v, numbers[i->n_layers], &i->layers[i->n_layers]);

		if (r < 0)
			return r;
		indexes[i->n_layers] = layer_store_index(i->layers[i->n_layers]->store);
	}
	tree_init(&i->tree, indexes, n);
	return 0;
}

int image_view_open(struct image_views *v, uint32_t number, struct image_view **ret)
{
	_cleanup_(image_view_close) struct image_view *i = NULL;
	struct image_view *kept;
	const uint32_t *layers;
	const char *key;
	size_t n_layers;
	int r;

	*ret = take_from(v, &v->images, number);
	if (*ret)
		return 0;
	i = calloc(1, sizeof(*i));
	if (!i)
		return -ENOMEM;
	i->references = 1;
	i->number = number;
	r = fill_view(v, i);
	if (r < 0)
		return r;
	kept = put_into(v, &v->images, number, i);
	if (kept == i)
		i = NULL;
	if (number_table_image(v->numbers, number, &key, &layers, &n_layers) < 0)
		image_view_drop(v, number); /* as above */
	*ret = kept;
	return 0;
}

static void *take_out(struct image_views *v, struct slots *s, uint32_t number)
{
	void *found = NULL;

	pthread_mutex_lock(&v->lock);
	if (number < s->n) {
		found = s->by_number[number];
		s->by_number[number] = NULL;
	}
	pthread_mutex_unlock(&v->lock);
	return found;
}

void image_view_drop(struct image_views *v, uint32_t image_number)
{
	struct image_view *i = take_out(v, &v->images, image_number);

	image_view_close(&i);
}

void image_view_drop_layer(struct image_views *v, uint32_t layer_number)
{
	struct image_view_layer *l = take_out(v, &v->layers, layer_number);

	image_view_layer_close(&l);
}
