/* manifest_write: the parts that every manifest of ours is made of, as JSON.
 *
 * Ownership  What is returned is the caller's, until it is added to something.
 * Units      Bytes.
 * Errors     -ENOMEM.
 * Threads    Any.
 * Source     image-spec descriptor.md, manifest.md.
 */
#pragma once

#include <json-c/json_object.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/digest.h"

#define MANIFEST_WRITE_TYPE "application/vnd.oci.image.manifest.v1+json"

struct json_object *manifest_write_descriptor(const char *type, const struct digest *d, uint64_t size);

/* Adds an annotation; returns `o`. */
struct json_object *manifest_write_annotate(struct json_object *o, const char *key, const char *value);

/* Without white space. */
int manifest_write_text(struct json_object *o, struct bytes *ret);
