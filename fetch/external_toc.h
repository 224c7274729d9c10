/* external_toc: the table of contents of an eStargz layer that was put into an image of its own.
 *
 * Ownership  Hands over bytes.
 * Units      Bytes.
 * Errors     Reported, with the other image named. The table is not verified: the caller has its digest.
 * Threads    Any.
 * Source     stargz-snapshotter docs/smaller-estargz.md: the tag with "-esgztoc" behind it; its layers name the blobs
 *            they belong to.
 */
#pragma once

#include "fetch/source.h"

/* `reference` is the image's own; packed as the registry has it. */
int external_toc_get(struct source *source, const char *reference, const struct digest *blob, struct bytes *ret);
