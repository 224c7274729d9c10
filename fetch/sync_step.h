/* sync_step: puts what the store has gained on the disk for good, layer by layer.
 *
 * Ownership  -
 * Units      -
 * Errors     Reported (the log).
 * Threads    Any; layers are locked one by one (cache/layer_store).
 * Source     docs/design.md, "The cache".
 */
#pragma once

#include <stdatomic.h>

#include "fetch/context.h"

/* Ends early when `stop` turns true. */
void sync_step(struct context *c, const atomic_bool *stop);
