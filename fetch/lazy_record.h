/* lazy_record: which pages of an image's layers are read, and in which order, while something runs in it.
 *
 * The server notes each READ, readahead included: a start that replays the pack reads the same. Before that, the
 * kernel forgets the pages it has of the layers, or it would not ask for them.
 *
 * Ownership  lazy_record_stop() hands over bytes: struct need_touched, in order.
 * Units      Pages.
 * Errors     Reported. -EBUSY: somebody records already.
 * Threads    Any; one recording at a time.
 * Source     docs/design.md, "Readahead decides what is touched".
 */
#pragma once

#include "fetch/image.h"

int lazy_record_start(struct context *c, const struct image *image);

/* -ENODATA (bare): nothing was recorded. */
int lazy_record_stop(struct context *c, struct bytes *ret);
