/* One anonymous shared mapping of fixed arrays; only pages that are used cost memory. */
#include "cache/number_table.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/limits.h"
#include "base/report.h"
#include "base/shared.h"

#define LAYERS_MAX 65535u
#define IMAGES_MAX 32767u
#define LIST_MAX (1u << 20) /* numbers of layers of all images */
#define TOUCH_SHIFT 20	    /* parts of 1 MiB */
#define TOUCH_SLOTS 65536u

static_assert(LAYERS_MAX < 1u << 26, "26 bits of a nodeid");
static_assert(IMAGES_MAX < 1u << 18, "18 bits of a nodeid");

struct layer_entry {
	char key[LAYER_KEY_SIZE];
	atomic_uint removed;
};

struct image_entry {
	char key[IMAGE_KEY_SIZE];
	atomic_uint removed;
	uint32_t first, n; /* in list */
};

struct number_table {
	atomic_uint n_layers, n_images;
	uint32_t list_used; /* of the writer */
	struct layer_entry layers[LAYERS_MAX + 1]; /* number 0 is not used */
	struct image_entry images[IMAGES_MAX + 1];
	uint32_t list[LIST_MAX];
	_Atomic uint32_t touched[TOUCH_SLOTS]; /* parts that share a slot look as young as the younger one */
};

int number_table_create(int *ret_fd, struct number_table **ret)
{
	void *at;
	int r = shared_make("lazyrun-numbers", sizeof(struct number_table), ret_fd, &at);

	if (r == 0)
		*ret = at;
	return r;
}

int number_table_again(int fd, struct number_table **ret)
{
	void *at;
	int r = shared_map(fd, sizeof(struct number_table), &at);

	if (r == 0)
		*ret = at;
	return r;
}

size_t number_table_size(void)
{
	return sizeof(struct number_table);
}

/* The fetcher parses what strangers wrote, and may have been taken over by it: what is read here lies inside the table
 * whatever it has written. */
static uint32_t read_count(const atomic_uint *at, uint32_t max)
{
	uint32_t n = atomic_load_explicit(at, memory_order_acquire);

	return n < max ? n : max;
}

uint32_t number_table_n_layers(const struct number_table *t)
{
	return read_count(&t->n_layers, LAYERS_MAX);
}

uint32_t number_table_n_images(const struct number_table *t)
{
	return read_count(&t->n_images, IMAGES_MAX);
}

static bool ends(const char *key, size_t size)
{
	return memchr(key, '\0', size);
}

int number_table_find_layer(const struct number_table *t, const char *layer_key, uint32_t *ret_number)
{
	for (uint32_t i = number_table_n_layers(t); i > 0; i--)
		if (!atomic_load(&t->layers[i].removed) && strncmp(t->layers[i].key, layer_key, LAYER_KEY_SIZE) == 0) {
			*ret_number = i;
			return 0;
		}
	return -ENOENT;
}

int number_table_find_image(const struct number_table *t, const char *image_key, uint32_t *ret_number)
{
	for (uint32_t i = number_table_n_images(t); i > 0; i--)
		if (!atomic_load(&t->images[i].removed) && strncmp(t->images[i].key, image_key, IMAGE_KEY_SIZE) == 0) {
			*ret_number = i;
			return 0;
		}
	return -ENOENT;
}

static int full(void)
{
	return fail(ENOSPC, "the server has numbered as many layers or images as it can; run \"lazyrun stop-server\" "
			    "and start again");
}

int number_table_add_layer(struct number_table *t, const char *layer_key, uint32_t *ret_number)
{
	uint32_t n = number_table_n_layers(t);
	struct layer_entry *e;

	if (number_table_find_layer(t, layer_key, ret_number) == 0)
		return 0;
	if (n >= LAYERS_MAX || strlen(layer_key) >= sizeof(e->key))
		return full();
	e = &t->layers[n + 1];
	strcpy(e->key, layer_key);
	atomic_store_explicit(&t->n_layers, n + 1, memory_order_release);
	*ret_number = n + 1;
	return 0;
}

int number_table_add_image(struct number_table *t, const char *image_key, const uint32_t *layers,
			   size_t n_layers, uint32_t *ret_number)
{
	uint32_t n = number_table_n_images(t), found;
	struct image_entry *e;

	if (number_table_find_image(t, image_key, &found) == 0) {
		e = &t->images[found];
		if (e->n == n_layers && memcmp(t->list + e->first, layers, n_layers * sizeof(*layers)) == 0) {
			*ret_number = found;
			return 0;
		}
		atomic_store(&e->removed, 1); /* one of its layers was removed and came back */
	}
	if (n >= IMAGES_MAX || n_layers > LIMIT_LAYERS || LIST_MAX - t->list_used < n_layers ||
	    strlen(image_key) >= sizeof(e->key))
		return full();
	e = &t->images[n + 1];
	strcpy(e->key, image_key);
	e->first = t->list_used;
	e->n = (uint32_t)n_layers;
	memcpy(t->list + e->first, layers, n_layers * sizeof(*layers));
	t->list_used += (uint32_t)n_layers;
	atomic_store_explicit(&t->n_images, n + 1, memory_order_release);
	*ret_number = n + 1;
	return 0;
}

void number_table_remove_layer(struct number_table *t, uint32_t number)
{
	atomic_store(&t->layers[number].removed, 1);
}

void number_table_remove_image(struct number_table *t, uint32_t number)
{
	atomic_store(&t->images[number].removed, 1);
}

int number_table_layer(const struct number_table *t, uint32_t number, const char **ret_key)
{
	if (number == 0 || number > number_table_n_layers(t) || atomic_load(&t->layers[number].removed) ||
	    !ends(t->layers[number].key, LAYER_KEY_SIZE))
		return -ENOENT;
	*ret_key = t->layers[number].key;
	return 0;
}

const char *number_table_image_key(const struct number_table *t, uint32_t number)
{
	if (number == 0 || number > number_table_n_images(t) || !ends(t->images[number].key, IMAGE_KEY_SIZE))
		return NULL;
	return t->images[number].key;
}

int number_table_image(const struct number_table *t, uint32_t number, const char **ret_key,
		       const uint32_t **ret_layers, size_t *ret_n_layers)
{
	const struct image_entry *e;
	uint32_t first, n;

	if (number == 0 || number > number_table_n_images(t))
		return -ENOENT;
	e = &t->images[number];
	first = *(const volatile uint32_t *)&e->first; /* read once: they must not change behind the check */
	n = *(const volatile uint32_t *)&e->n;
	if (atomic_load(&e->removed) || !ends(e->key, IMAGE_KEY_SIZE) || n > LIMIT_LAYERS || first > LIST_MAX - n)
		return -ENOENT;
	*ret_key = e->key;
	*ret_layers = t->list + first;
	*ret_n_layers = n;
	return 0;
}

static uint32_t touch_slot(uint32_t layer_number, uint64_t off)
{
	return (uint32_t)((off >> TOUCH_SHIFT) + layer_number * UINT64_C(40503)) % TOUCH_SLOTS;
}

void number_table_touch(const struct number_table *t, uint32_t layer_number, uint64_t off)
{
	_Atomic uint32_t *at = (_Atomic uint32_t *)(uintptr_t)&t->touched[touch_slot(layer_number, off)];
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (atomic_load_explicit(at, memory_order_relaxed) != (uint32_t)now.tv_sec)
		atomic_store_explicit(at, (uint32_t)now.tv_sec, memory_order_relaxed);
}

uint32_t number_table_touched(const struct number_table *t, uint32_t layer_number, uint64_t off)
{
	return atomic_load_explicit(&t->touched[touch_slot(layer_number, off)], memory_order_relaxed);
}
