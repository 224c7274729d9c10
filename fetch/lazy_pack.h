/* lazy_pack: a start pack on its way: frame by frame into the layers, and readers wait for it instead of asking twice.
 *
 * Ownership  lazy_pack_new() hands over the list of those that run, which lives as long as the process. What
 *            lazy_pack_begin() hands over goes to lazy_pack_run() or lazy_pack_drop().
 * Units      Pages of layer files.
 * Errors     None that anybody waits for: a pack that is broken, outdated or cut is left (the log says why), and
 *            the readers that waited for it get their spans.
 * Threads    lazy_pack_hold() is called by the main loop and never waits. A thread for each pack that runs.
 * Source     docs/design.md, "Our own artifact"; format/pack.h.
 */
#pragma once

#include "fetch/fill.h"
#include "fetch/image.h"
#include "format/lazy_artifact.h"

struct lazy_packs;
struct lazy_pack;

int lazy_pack_new(struct context *c, struct fill *fill, struct lazy_packs **ret);

struct lazy_pack_for {
	struct source *source;
	const struct image *image;
	const struct lazy_artifact *artifact;
	const char *command; /* lazy_artifact_command() of what will run; NULL: the image's own */
	bool all_made;	     /* the image's layers are in the store: perhaps the pack's pages are, too */
};

/* Asks for the pack that fits the command. *ret NULL: there is none, or nothing of it is missing. */
void lazy_pack_begin(struct lazy_packs *packs, const struct lazy_pack_for *to, struct lazy_pack **ret);
void lazy_pack_drop(struct lazy_pack **p);

/* The image's layers are numbered now: what arrives goes into them, in a thread of its own. */
void lazy_pack_run(struct lazy_pack **p, const struct image *image, const struct lazy_artifact *a);

/* Whether any pack is on its way. */
bool lazy_pack_any(struct lazy_packs *packs);

/* Whether a pack is on its way to this layer, or has just come and lacks nothing: a read that `missed` something says
 * that it does. */
bool lazy_pack_fills(struct lazy_packs *packs, uint32_t layer_number, bool missed);

/* True: a pack will bring these pages; the need is kept, and asked of `fill` should the pack end without them. */
bool lazy_pack_hold(struct lazy_packs *packs, const struct need *need);
