/* image_files: the tree of an image, for commands that look without running.
 *
 * image_files_open() makes sure that the image is there, enters the namespaces where it is mounted
 * (an ordinary user's), and opens its root. Paths are then resolved inside that root and never leave it.
 *
 * Ownership  image_files_close() ends it. Empty is {.root_fd = -1}.
 * Units      -
 * Errors     Reported.
 * Threads    The process has one thread (client_join()).
 * Source     docs/design.md, "The processes": <run>/fs/images/<image key>.
 */
#pragma once

#include <limits.h>

#include "cache/store.h"
#include "cli/ensure.h"

struct image_files {
	struct store *store;
	struct ensure_result *image; /* holds the connection: the server stays */
	char root_path[PATH_MAX];
	int root_fd; /* O_PATH */
	int exit_code;
};

/* Returns 0 in the process that goes on with the command, where the image may be read (worker.h): call
 * worker_step() as it proceeds. Returns 1 in its watcher when that one has ended, with exit_code set. */
int image_files_open(const struct ensure_options *options, struct image_files *f);
void image_files_close(struct image_files *f);

/* Sends "hold" for a mount of `image_key` at `dir`, so that the server does not leave while it is there; the key
 * may be "" to end a hold. */
int image_files_hold(struct client *c, const char *dir, const char *image_key, bool hold);
