/* lazy_index: makes the artifact of an image whose layers are whole in the store, and pushes it beside the image.
 *
 * Ownership  Borrows everything for the call.
 * Units      Bytes.
 * Errors     Reported.
 * Threads    Any.
 * Source     docs/design.md, "Our own artifact".
 */
#pragma once

#include <json-c/json_object.h>

#include "fetch/image.h"
#include "fetch/source.h"

struct lazy_index_how {
	uint32_t connection;	      /* of the command that waits */
	bool push;
	bool add_record;	      /* the image's present artifact stays as it is, and gets one pack more */
	bool profiles;		      /* what starts here were seen to need goes along */
	const struct bytes *touched;  /* of lazy_record_stop(); NULL: nothing was recorded */
	const char *command;	      /* lazy_artifact_command() of what was recorded */
};

/* The answer gets "artifact", "pushed", "layers", "packs", "profiles", "image_size", and sizes: "index_size", "spans_size", "windows_size",
 * "pack_size". Beside a layout, the artifact is put into a layout of its own in the store, "staged", which the caller
 * moves (layout_put_all()). */
int lazy_index(struct context *c, struct source *source, const struct image *image, const struct lazy_index_how *how,
	       struct json_object *answer);
