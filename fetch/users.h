/* users: who uses images right now, so that they are not removed beneath them: containers and mounts.
 *
 * A container's command writes the image key into <store>/containers/<id>/image before it mounts the image,
 * and has <store>/containers/<id> locked by flock(2) as long as the container lives (cli/container_dir).
 *
 * Ownership  users_list() fills in *ret, which users_free() ends.
 * Units      -
 * Errors     Reported. users_check(): -EBUSY, with the container's id or the mount's directory.
 * Threads    Any.
 * Source     KERNEL.md G: users of the fs connection are invisible to leases.
 */
#pragma once

#include "cache/number_table.h"
#include "cache/store.h"
#include "fetch/holds.h"

struct user {
	char image_key[IMAGE_KEY_SIZE];
	char *how; /* "is mounted at ..." */
};

struct users {
	struct user *list;
	size_t n;
};

int users_list(const struct store *s, struct holds *holds, struct users *ret);
void users_free(struct users *u);

/* -EBUSY when somebody uses the image; `name` is what the user calls it. */
int users_check(const struct users *u, const char *image_key, const char *name);
