/* replay: asks for what a profile says, a few at a time, in its order but for neighbours, which stand together.
 *
 * Ownership  replay_begin() takes the struct over.
 * Units      Pages of layer files; units of spans.
 * Errors     None: what does not come is fetched when a reader waits for it.
 * Threads    A thread of its own for each.
 * Source     docs/design.md, "What a start does" 6: behind what readers wait for and closures ask for, before the rest.
 */
#pragma once

#include <stdatomic.h>

#include "base/limits.h"
#include "fetch/fill.h"
#include "format/profile.h"

struct replay_layer {
	struct layer_store *store; /* a reference; NULL: not asked for */
	uint32_t number;
};

struct replay {
	struct context *context;
	struct fill *fill;
	const atomic_uint *ended; /* it stops as soon as this is not `began` any more */
	unsigned int began;
	struct replay_layer layers[LIMIT_LAYERS];
	struct profile_run *runs;
	size_t n_runs;
};

void replay_free(struct replay **r);
void replay_begin(struct replay **r);
