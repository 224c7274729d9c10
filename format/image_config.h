/* image_config: the image's config blob: what to run, and the layers' diffIDs.
 *
 * Ownership  image_config_parse() hands over; image_config_free() ends it.
 * Units      -
 * Errors     -EBADMSG, -EFBIG, reported.
 * Threads    Never changes after parse.
 * Source     image-spec config.md; docker's image v1.2.
 */
#pragma once

#include <stddef.h>

#include "base/digest.h"
#include "format/manifest.h"

struct image_config {
	struct platform platform;
	char **env; /* each array: NULL-terminated, never NULL itself */
	char **entrypoint;
	char **cmd;
	char **volumes;
	char **exposed_ports;
	char **labels; /* key, value, key, value, ... */
	char *user; /* "" when absent */
	char *working_dir;
	char *stop_signal;
	char *created;
	struct digest *diff_ids;
	size_t n_diff_ids;
};

int image_config_parse(const void *data, size_t size, const char *name, struct image_config **ret);
void image_config_free(struct image_config **c);
