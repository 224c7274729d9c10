/* image: what a name means: manifest, config and ordered layers for one platform, checked.
 *
 * Ownership  image_resolve() hands over; image_free() ends it.
 * Units      Sizes are packed bytes.
 * Errors     Reported. -ENOENT with IMAGE_LOCAL and nothing in the store is reported too.
 * Threads    Any thread; a resolved image never changes.
 * Source     docs/design.md, "What a start does", 1.
 */
#pragma once

#include "cache/names.h"
#include "fetch/context.h"
#include "format/image_config.h"
#include "format/manifest.h"
#include "format/reference.h"

enum image_pull {
	IMAGE_PULL_MISSING, /* what the store says the name meant last time is good */
	IMAGE_PULL_ALWAYS,
	IMAGE_PULL_NEVER,   /* no request at all */
};

struct image_layer {
	struct descriptor blob;
	struct digest diff_id;
	char key[LAYER_KEY_SIZE];
};

struct image {
	struct name_entry name;
	struct digest config;
	char key[IMAGE_KEY_SIZE]; /* hash of the ordered layer keys */
	struct image_layer *layers;
	size_t n_layers;
};

/* `source` may be NULL with IMAGE_PULL_NEVER. */
int image_resolve(struct context *c, const struct reference *ref, const char *platform, enum image_pull pull,
		  struct source *source, struct image **ret);
void image_free(struct image **i);
