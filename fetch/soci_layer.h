/* soci_layer: a layer in the store made from its zTOC, before any byte of it is here.
 *
 * Ownership  Borrows everything for the call.
 * Units      Bytes.
 * Errors     Reported: -EBADMSG: the zTOC is broken, or another layer's. Others as in source.h and ztoc_layer.h.
 * Threads    Any.
 * Source     docs/design.md, "What a start does", 2; "Trust".
 */
#pragma once

#include "fetch/context.h"
#include "fetch/source.h"
#include "format/soci_index.h"

/* The store's key. Version 2 (policy "toc"): the manifest vouches for the index, that for blob and zTOC. Version 1
 * (policy "repo"): who may push to the repository does. */
void soci_layer_key(const char *repository, const struct soci_index *i, const struct soci_index_layer *l,
		    char ret[static LAYER_KEY_SIZE]);

/* `repository` as source_table_name() has it; `blob` as the image's manifest has it. */
int soci_layer_make(struct context *c, struct source *source, const char *repository, const struct descriptor *blob,
		    const struct soci_index *i, const struct soci_index_layer *l);
