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
