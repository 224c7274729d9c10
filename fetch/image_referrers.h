/* image_referrers: the one list of what refers to an image's manifest and may make the image lazy, whoever looks into it.
 *
 * A registry is asked once for each image, for all kinds together: a request for each kind would be a round trip's worth
 * of work more at every start, and most images have none of them.
 *
 * Ownership  What is handed over is ended by referrers_free(); a search by image_referrers_end() or _free().
 * Units      -
 * Errors     As in referrers.h. No referrers: an empty list.
 * Threads    Any. A search is its beginner's.
 * Source     docs/design.md, "What a start does".
 */
#pragma once

#include "fetch/referrers.h"

struct image_referrers;

int image_referrers_get(struct source *source, const struct digest *manifest, struct referrers **ret);

/* The same in a thread of its own, beside what else is asked for an image that is new here. NULL in *ret: not begun. */
void image_referrers_begin(struct source *source, const struct digest *manifest, struct image_referrers **ret);
/* Waits for it, and reports what was wrong. */
int image_referrers_end(struct image_referrers **search, struct referrers **ret);
/* For who does not need it any more. */
void image_referrers_free(struct image_referrers **search);
