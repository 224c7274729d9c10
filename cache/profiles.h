/* profiles: what earlier starts of an image needed (format/profile.h), by manifest and command.
 *
 * Ownership  profiles_get() hands over.
 * Units      -
 * Errors     -ENOENT: there is none, or it is damaged. Others errno of the calls. All bare.
 * Threads    Any; a file appears by rename. Who adds one while others remove holds the context's store_lock.
 * Source     <store>/profiles/<hex of the manifest's digest>/<sha256 of the command>.
 */
#pragma once

#include "base/digest.h"
#include "base/limits.h"
#include "cache/store.h"
#include "format/profile.h"

#define PROFILES_DIRECTORY "profiles"

/* The sha256 of lazy_artifact_command() of what runs. */
void profiles_command(const char *command, struct digest *ret);

/* Of more than LIMIT_PROFILES of one image the one that was written longest ago goes. */
int profiles_get(const struct store *s, const struct digest *manifest, const struct digest *command, struct profile **ret);
int profiles_put(const struct store *s, const struct digest *manifest, const struct digest *command,
		 const struct profile *p);

/* The commands of an image that have one, in the order of their digests. */
int profiles_list(const struct store *s, const struct digest *manifest, struct digest ret[static LIMIT_PROFILES],
		  size_t *ret_n);

/* All of the image's. */
int profiles_remove(const struct store *s, const struct digest *manifest);

/* Whether a file is one; -EBADMSG: no. */
int profiles_check(int dir_fd, const char *name);
