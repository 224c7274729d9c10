/* check_layer: one layer of the store against all that is known of it: digests, the diffID, the index made anew.
 *
 * Ownership  -
 * Units      Bytes of the layer file.
 * Errors     As check.h.
 * Threads    As check.h.
 * Source     docs/design.md, "Trust" and "The cache".
 */
#pragma once

#include "fetch/check.h"

int check_layer(struct check *c, const char *key);

/* Whether a complete layer that an artifact described is the tar with this diffID, and its index that tar's: 0.
 * -EBADMSG: it is not, was marked bad and has lost its bytes; the problem is reported. -EIO: the same, as its files are not
 * what was written. -EAGAIN: bytes are missing. */
int check_layer_is(struct context *c, const char *key, const struct digest *diff_id);
