/* soci_write: makes a SOCI index (version 1) of an image whose layers are whole in the store, and pushes it beside the
 * image, for soci-snapshotter.
 *
 * Each layer's packed bytes pass once: from the store when they are still there, else from the registry.
 *
 * Ownership  Borrows everything for the call.
 * Units      Bytes.
 * Errors     Reported. -EOPNOTSUPP: no layer for which a table would be of use.
 * Threads    Any.
 * Source     soci-snapshotter soci/soci_index.go; docs/design.md, "SOCI's tables".
 */
#pragma once

#include <json-c/json_object.h>

#include "fetch/image.h"
#include "fetch/source.h"

struct soci_write_how {
	uint32_t connection; /* of the command that waits */
	bool push;
};

/* The answer gets "artifact", "pushed", "layers", "image_size", "index_size", "sent_size", and
 * "notes": texts for the user, as why a layer that is not small has no table. */
int soci_write(struct context *c, struct source *source, const struct image *image, const struct soci_write_how *how,
	       struct json_object *answer);
