/* users: who uses an image right now, so that it is not removed beneath them.
 *
 * A container's command writes the image key into <store>/containers/<id>/image before it mounts the image,
 * and has <store>/containers/<id> locked by flock(2) as long as the container lives (cli/container_dir).
 *
 * Ownership  -
 * Units      -
 * Errors     -EBUSY, reported with the container's id or the mount's directory.
 * Threads    Any.
 * Source     KERNEL.md G: users of the fs connection are invisible to leases.
 */
#pragma once

#include "cache/store.h"
#include "fetch/holds.h"

int users_check(const struct store *s, struct holds *holds, const char *image_key, const char *name);
