/* image_view: the layers and images that the server has open, each opened when first used.
 *
 * Layers are shared between images. What is in use stays, also when it was dropped meanwhile.
 *
 * Ownership  image_view_open() and image_view_layer_open() hand over a reference; the _close()
 *            functions give it back. The views borrow store and number table.
 * Units      Numbers of the number table.
 * Errors     Bare: -ESTALE: no such number, or removed. -EIO: a layer cannot be opened
 *            (layer_store_open() has reported it).
 * Threads    Any. One mutex guards the two tables; what a view holds never changes.
 * Source     docs/design.md, "Same answer on every machine".
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "cache/layer_store.h"
#include "cache/number_table.h"
#include "cache/store.h"
#include "format/tree.h"

struct image_views;

struct image_view_layer {
	atomic_uint references;
	uint32_t number;
	struct layer_store *store;
	_Atomic int64_t missed; /* clock_ms() of the last read whose bytes were missing; 0: none lately */
	_Atomic uint8_t *_Atomic refused; /* readahead's marks; NULL: none yet */
};

struct image_view {
	atomic_uint references;
	uint32_t number;
	uint32_t generation_seed; /* from the key: a directory's generation says its image too */
	char key[IMAGE_KEY_SIZE];
	struct tree tree;
	size_t n_layers;
	struct image_view_layer *layers[LIMIT_LAYERS];
};

int image_view_new(const struct store *store, const struct number_table *numbers, struct image_views **ret);
void image_view_free(struct image_views **v);

int image_view_layer_open(struct image_views *v, uint32_t number, struct image_view_layer **ret);
struct image_view_layer *image_view_layer_again(struct image_view_layer *l);
void image_view_layer_close(struct image_view_layer **l);

int image_view_open(struct image_views *v, uint32_t number, struct image_view **ret);
void image_view_close(struct image_view **i);

/* Forgets what was removed; who uses it still does. */
void image_view_drop(struct image_views *v, uint32_t image_number);
void image_view_drop_layer(struct image_views *v, uint32_t layer_number);
