/* ahead: which spans a reader will probably want next, asked for before it does.
 *
 * The server says which files are touched (NEED_TOUCHED). From the layer's index follow: the rest of a program or
 * library, the small files beside the touched one, those that it mentions, what comes next when spans are read one after
 * the other. A start pack that is on its way makes it unnecessary.
 *
 * Ownership  ahead_new() hands over; it lives as long as the process. Layers are held while they are touched.
 * Units      Bytes of the layer file.
 * Errors     None: what cannot be guessed is fetched when a reader waits for it.
 * Threads    ahead_touch() is called by the main loop and never waits; a thread of its own looks and asks.
 * Source     docs/design.md, "What is fetched before it is asked for".
 */
#pragma once

#include "fetch/fill.h"

struct ahead;

int ahead_new(struct context *c, struct fill *fill, struct ahead **ret);

/* A read of these pages, the first one of its file or of its part of a large file. */
void ahead_touch(struct ahead *a, const struct need *touched);

