/* lazy_layer: a layer in the store made from our artifact's layer index and span table, before any byte of it is here.
 *
 * Ownership  Borrows everything for the call.
 * Units      Bytes.
 * Errors     Reported, with the artifact's blob named: -EBADMSG: not what it must be. Others as in source.h.
 * Threads    Any; two threads of its own fetch side by side.
 * Source     docs/design.md, "Our own artifact", "Trust".
 */
#pragma once

#include "fetch/context.h"
#include "fetch/source.h"
#include "format/lazy_artifact.h"

/* The store's key (policy "repo"): who may push to the repository vouches for the index and spans of this blob. */
void lazy_layer_key(const char *repository, const struct lazy_artifact_layer *l, char ret[static LAYER_KEY_SIZE]);

/* `blob` as the image's manifest has it. */
int lazy_layer_make(struct context *c, struct source *source, const char *repository, const struct descriptor *blob,
		    const struct lazy_artifact_layer *l);
