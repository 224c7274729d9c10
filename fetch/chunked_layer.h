/* chunked_layer: a layer in the store made from the table of contents that its own blob carries (eStargz, zstd:chunked).
 *
 * Ownership  Borrows everything for the call.
 * Units      Bytes.
 * Errors     Reported: -EBADMSG: the table is not the one the manifest names, or is broken. Others as in source.h.
 * Threads    Any.
 * Source     docs/design.md, "What a start does", 2; "Trust".
 */
#pragma once

#include "fetch/context.h"
#include "fetch/source.h"
#include "format/toc_place.h"

/* The store's key (policy "toc"): the manifest vouches for blob and table by their digests. */
void chunked_layer_key(const struct digest *blob, const struct toc_place *place, char ret[static LAYER_KEY_SIZE]);

/* `repository` as source_table_name() has it; `reference` is the image's, whose tag leads to an external table. */
int chunked_layer_make(struct context *c, struct source *source, const char *repository, const char *reference,
		       const struct descriptor *blob, const struct toc_place *place);
