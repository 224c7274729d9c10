/* lazy: finds the artifact of ours that belongs to an image, in the store or beside the image in its registry.
 *
 * Ownership  Both functions hand over; lazy_artifact_free() ends it.
 * Units      -
 * Errors     -ENOENT: there is none (bare). A broken one: reported.
 * Threads    Any.
 * Source     docs/design.md, "Our own artifact": of several the newest counts, ties by digest.
 */
#pragma once

#include "fetch/image.h"
#include "fetch/referrers.h"
#include "format/lazy_artifact.h"

/* What lazy_find() found last, from the store. *ret_digest (may be NULL) is that of its manifest. */
int lazy_known(const struct store *s, const char *repository, const struct digest *manifest, struct digest *ret_digest,
	       struct lazy_artifact **ret);

/* Chooses from the image's referrers (image_referrers.h), asks the source, and keeps what it found. */
int lazy_find(struct context *c, const struct image *i, struct source *source, const struct referrers *list,
	      struct lazy_artifact **ret);

/* The image is removed, and no other name of it is left: what was kept of its artifact goes. */
void lazy_forget(const struct store *s, const struct image *i);
