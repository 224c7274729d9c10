/* profile_blob: profiles in an artifact: put there by `lazyrun index --profiles`, and taken from there by a first start.
 *
 * Ownership  profile_blob_end() ends what profile_blob_begin() began.
 * Units      -
 * Errors     profile_blob_add(): reported. A profile that does not come, or is none, is said in the log.
 * Threads    A thread of its own fetches one; who waits for it does not wait long.
 * Source     docs/design.md, "Profiles".
 */
#pragma once

#include <pthread.h>

#include "fetch/image.h"
#include "format/lazy_artifact.h"

/* Adds to `to` what `before` (NULL: none) has, and with `ours` what the store has for the image, which goes first. The
 * bytes of ours lie in the blob store then. */
int profile_blob_add(struct context *c, const struct digest *manifest, const struct lazy_artifact *before, bool ours,
		     struct lazy_artifact *to);

struct profile_blob {
	bool began;
	pthread_t thread;
};

/* Fetches the command's profile into the store, unless it has one, or the artifact none. */
void profile_blob_begin(struct context *c, struct source *source, const struct image *image, const struct lazy_artifact *a,
			const char *command, struct profile_blob *ret);

/* Waits for it, half a second at most: what comes later is for the next start. */
void profile_blob_end(struct profile_blob *p);
