/* needed: what the images, containers, mounts and requests of a store need of it.
 *
 * Ownership  needed_images_load() and needed_load() fill in *ret; needed_images_free() and needed_free() end it.
 * Units      -
 * Errors     Reported. Images that are broken are passed over, and listed; needed_load() fails when it is not sure of
 *            one of them: then nothing may be removed.
 * Threads    The caller holds the context's store_lock, but for needed_images_load().
 * Source     -
 */
#pragma once

#include <stdbool.h>

#include "fetch/image.h"
#include "fetch/users.h"

struct needed_images {
	struct image **images;
	size_t n;
	struct name_entry *broken; /* names whose manifest or config is not here, or wrong */
	size_t n_broken;
	int unsure;	      /* the errno when one could not be read for another reason */
};

/* All images, or those of one reference (`only`), or all but those (`except`). */
int needed_images_load(struct context *c, const char *only, const char *except, struct needed_images *ret);
void needed_images_free(struct needed_images *l);

struct needed {
	struct needed_images images;
	struct users users;
};

int needed_load(struct context *c, const char *except, struct needed *ret);
void needed_free(struct needed *n);

bool needed_layer(const struct context *c, const struct needed *n, const char *key);
bool needed_user_layer(const struct context *c, const struct needed *n, const char *key); /* of a container or mount */
bool needed_image_key(const struct context *c, const struct needed *n, const char *key);
bool needed_blob(const struct context *c, const struct needed *n, const struct digest *d);

/* Whether that is all there is: no broken image, and every user's layers are known. */
bool needed_is_sure(const struct context *c, const struct needed *n);
