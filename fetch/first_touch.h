/* first_touch: what a start reads is noted as its image's profile, and the next start of the same asks for it early.
 *
 * A start is looked at when bytes of its image are missing: those that its readers touch, in their order, are kept in the
 * store (cache/profiles.h) once nothing new was touched for a while. When there is a profile already, replay asks for
 * what is missing of it, and what was touched besides is added to it.
 *
 * Ownership  first_touch_new() hands over; it lives as long as the process.
 * Units      Pages of layer files; units of spans (span_unit.h).
 * Errors     None that anybody waits for: a profile that cannot be read is none, one that cannot be written is said
 *            in the log.
 * Threads    Any. Only first_touch_save() and first_touch_end() wait for the disk.
 * Source     docs/design.md, "What a start does" 5 and 6.
 */
#pragma once

#include "fetch/fill.h"
#include "fetch/image.h"

struct first_touches;

int first_touch_new(struct context *c, struct fill *fill, struct first_touches **ret);

/* This image starts, its layers are numbered, and no pack is on its way. `command`: lazy_artifact_command(). */
void first_touch_begin(struct first_touches *f, const struct image *image, const char *command);

/* A reader waits for these pages, or has read them. True: the profile of a start that runs has them. */
bool first_touch_note(struct first_touches *f, const struct need *n);

/* Called about once a second: what is due is written, by a thread. */
void first_touch_tick(struct first_touches *f);

/* Writes what is not written yet. Takes the context's store_lock. */
void first_touch_save(struct first_touches *f);

/* The same; then no start is looked at any more, and nothing more is asked for: bytes are about to be evicted. */
void first_touch_end(struct first_touches *f);

/* The image is removed: nothing of it is written any more, and its profiles go. The store_lock is held. */
void first_touch_forget(struct first_touches *f, const struct digest *manifest);
