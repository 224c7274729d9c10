/* volume: what -v, --tmpfs and --ulimit say, as mounts and limits of a container's config.
 *
 * Ownership  Everything is copied into the config.
 * Units      -
 * Errors     -EINVAL, -EOPNOTSUPP ("not yet"), -ENOENT for a source that is not there; reported.
 * Threads    Any.
 * Source     docker run's reference page; podman-run(1) for the options after the second colon.
 */
#pragma once

#include "runtime/config.h"

/* "SRC:DST[:OPTIONS]". A relative source starts at the working directory. */
int volume_add(struct config *c, const char *text);

/* "DIR[:OPTIONS]" */
int volume_add_tmpfs(struct config *c, const char *text);

/* "NAME=SOFT[:HARD]" */
int volume_add_ulimit(struct config *c, const char *text);
