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
#include "cache/store.h"
#include "format/profile.h"

#define PROFILES_DIRECTORY "profiles"
#define PROFILES_MAX 64u /* commands of one image; the one that was written longest ago goes */

/* `command`: lazy_artifact_command() of what runs. */
int profiles_get(const struct store *s, const struct digest *manifest, const char *command, struct profile **ret);
int profiles_put(const struct store *s, const struct digest *manifest, const char *command, const struct profile *p);

/* All of the image's. */
int profiles_remove(const struct store *s, const struct digest *manifest);

/* Whether a file is one; -EBADMSG: no. */
int profiles_check(int dir_fd, const char *name);
