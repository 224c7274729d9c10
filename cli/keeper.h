/* keeper: a process that has the next container's stage (runtime/stage.h) ready: namespaces, root and mounts.
 *
 * An ended container's remover becomes it. It leaves when a start has taken the stage, and else after KEEPER_SECONDS, or
 * with the store's server.
 *
 * Ownership  The stage that is taken is the caller's.
 * Units      Seconds.
 * Errors     Bare: a start goes on without it.
 * Threads    One.
 * Source     unix(7), SO_PEERCRED: who listens.
 */
#pragma once

#include "cli/spare.h"
#include "runtime/stage.h"

#define KEEPER_SECONDS 60

/* The stage that stands on `d`, which spare_take() found, and its image, as it was then. */
int keeper_take(const struct container_dir *d, struct spare_image *ret_image, struct stage *ret);

/* From container_dir_leave()'s child, with the facts (spare.h) of the container that has ended, and a pidfd of the
 * server. `c` is its config with a directory and files of the next one's. */
void keeper_run(const struct container_dir *d, const struct config *c, const struct bytes *facts,
		const struct spare_image *image, int server_fd) __attribute__((noreturn));
