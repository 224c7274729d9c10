/* convert: an image whose layers are whole in the store, written anew with layers that can be read in their middle.
 *
 * Ownership  Borrows everything for the call.
 * Units      Bytes.
 * Errors     Reported. A layer that the format cannot hold is packed without a table, which the answer counts.
 * Threads    Any.
 * Source     format/chunk_pack.h; image-spec manifest.md.
 */
#pragma once

#include <stdint.h>

#include <json-c/json_object.h>

#include "fetch/context.h"

/* {"op": "convert", "reference", "platform", "to": "estargz" or "zstd:chunked", "destination", "access": of the
 * destination}. The answer gets "manifest", "layers", "without_table", "size". `connection` hears of progress. */
int convert_image(struct context *c, uint32_t connection, struct json_object *o, struct json_object *answer);
