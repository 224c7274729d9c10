/* users: who uses an image right now, so that it is not removed beneath them.
 *
 * A container keeps <store>/containers/<id>/image, whose text is the image key, locked by flock(2)
 * as long as it lives.
 *
 * Ownership  -
 * Units      -
 * Errors     -EBUSY, reported with the container's id.
 * Threads    Any.
 * Source     KERNEL.md G: users of the fs connection are invisible to leases.
 */
#pragma once

#include "cache/store.h"

int users_check(const struct store *s, const char *image_key, const char *name);
