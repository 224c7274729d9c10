/* image_container: an image's config and the command line's flags, made into a container's config.
 *
 * Ownership  Everything is copied into the config, which config_free() ends.
 * Units      -
 * Errors     Reported: a user that the image does not have, no command, a bad flag.
 * Threads    Any.
 * Source     image-spec conversion.md; docker run.
 */
#pragma once

#include "cli/container_dir.h"
#include "cli/run_options.h"
#include "format/image_config.h"
#include "runtime/config.h"

struct image_container_place {
	const struct container_dir *dir;
	const char *const *lowers; /* the image's trees, topmost first, NULL-terminated; NULL: the caller sets rootfs */
	int *file_trees;	 /* from container_dir_files(); taken over */
	int seccomp_cache_fd;	 /* or -1 */
};

/* `image` may be NULL (a directory as root). To be called where the container's sources are seen: after client_join(). */
int image_container_build(struct config *c, const struct run_options *o, const struct image_config *image,
			  const struct image_container_place *place);

/* For another container of the same config: its own directory and files take the place of those that are used up. */
int image_container_renew(struct config *c, const struct container_dir *dir, int *file_trees);

/* The host name that the container gets. */
void image_container_hostname(const struct run_options *o, const char *id, char ret[static 64]);
