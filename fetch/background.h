/* background: brings what is missing of the layers that something was started from, when no reader waits for anything.
 *
 * A layer from our artifact of which every byte is here is checked as a whole, and is a tar layer from then on.
 *
 * Ownership  background_new() hands over; it lives as long as the process. What is to be filled is in memory only: a new
 *            fetcher fills what is started with it.
 * Units      Bytes of the network.
 * Errors     Reported (the log); a layer that fails is left for its readers to ask for.
 * Threads    Any; a thread of its own asks for spans, fill's workers fetch them.
 * Source     docs/design.md, "Trust", "What a start does" 6.
 */
#pragma once

#include "fetch/fill.h"
#include "fetch/image.h"

struct background;

enum background_when {
	BACKGROUND_IDLE, /* after two seconds in which no reader waited */
	BACKGROUND_NOW,	 /* beside the readers, who still go first */
	BACKGROUND_NEVER,
};

int background_new(struct context *c, struct fill *fill, struct background **ret);

/* The layers of an image that was made lazily; `rate`: bytes a second for all of them from now on, 0: no limit. */
void background_add(struct background *b, const struct image *image, enum background_when when, uint64_t rate);

/* It was evicted: its bytes shall stay away until they are read. `key` NULL: all. */
void background_forget(struct background *b, const char *key);

/* Whether something is still to be fetched or checked. */
bool background_busy(struct background *b);
