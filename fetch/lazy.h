/* lazy: finds the artifact of ours that belongs to an image, in the store or beside the image in its registry.
 *
 * Ownership  Both functions hand over; lazy_artifact_free() ends it.
 * Units      -
 * Errors     -ENOENT: there is none (bare). A broken one: reported.
 * Threads    Any. A search is its beginner's.
 * Source     docs/design.md, "Our own artifact": of several the newest counts, ties by digest.
 */
#pragma once

#include "base/report.h"
#include "fetch/image.h"
#include "fetch/source.h"
#include "format/lazy_artifact.h"

/* What lazy_find() found last, from the store. *ret_digest (may be NULL) is that of its manifest. */
int lazy_known(const struct store *s, const char *repository, const struct digest *manifest, struct digest *ret_digest,
	       struct lazy_artifact **ret);

/* Asks the source, and keeps what it found. */
int lazy_find(struct context *c, const struct image *i, struct source *source, struct lazy_artifact **ret);

/* The same in a thread of its own, beside what else is asked for an image that is new here. NULL in *ret: not begun. */
void lazy_search_begin(struct context *c, const struct image *i, struct source *source, struct lazy_search **ret);
/* Waits for it. The image must be there until then; `text` is what was reported. */
int lazy_search_end(struct lazy_search **search, char text[static REPORT_TEXT_SIZE], struct lazy_artifact **ret);
/* For who does not need it any more. */
void lazy_search_free(struct lazy_search **search);

/* The image is removed, and no other name of it is left: what was kept of its artifact goes. */
void lazy_forget(const struct store *s, const struct image *i);
