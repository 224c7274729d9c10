/* soci: finds the SOCI index of an image: version 2, which the image's manifest or index names by digest, or version 1,
 * which refers to the manifest and is found beside it.
 *
 * Ownership  soci_known() and soci_find() hand over; soci_index_free() ends it.
 * Units      -
 * Errors     -ENOENT: there is none, or none that may be trusted (bare). A broken one: reported.
 * Threads    Any.
 * Source     docs/design.md, "What a start does", 2, "Trust"; soci-snapshotter fs/fs.go (which one counts).
 */
#pragma once

#include "fetch/image.h"
#include "fetch/referrers.h"
#include "format/soci_index.h"

/* What soci_find() found last, from the store. *ret_digest is that of its manifest. */
int soci_known(const struct store *s, const struct image *i, struct digest *ret_digest, struct soci_index **ret);

/* Asks the source, and keeps what it found. Version 1 is looked for in the image's referrers (image_referrers.h; NULL:
 * they are not known); version 2 does not need them. */
int soci_find(struct context *c, const struct image *i, struct source *source, const struct referrers *list,
	      struct soci_index **ret);

/* The image is removed, and no other name of it is left. */
void soci_forget(const struct store *s, const struct image *i);
