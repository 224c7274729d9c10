/* layout: an OCI image layout directory as a source of manifests and blobs.
 *
 * Ownership  layout_open() hands over; layout_free() ends it.
 * Units      Bytes.
 * Errors     As in source.h, reported; -EOPNOTSUPP: a layout of another version.
 * Threads    Never changes after open.
 * Source     image-spec image-layout.md.
 */
#pragma once

#include <json-c/json_object.h>

#include "base/bytes.h"
#include "format/manifest.h"

struct layout;

int layout_open(const char *path, struct layout **ret);
void layout_free(struct layout **l);
const char *layout_name(const struct layout *l);

/* `tag` "" or NULL: the only manifest there is. */
int layout_get_manifest(struct layout *l, const char *tag, const struct digest *digest,
			struct bytes *ret, char ret_content_type[static 128],
			struct digest *ret_digest);
int layout_get_blob(struct layout *l, const struct descriptor *d, size_t max, struct bytes *ret);

/* Opens the blob's file for reading and checks its size. */
int layout_open_blob(struct layout *l, const struct descriptor *d, int *ret_fd);

/* index.json as it is, parsed: an object with an array "manifests". json_field_free() ends it. */
int layout_get_index(struct layout *l, struct json_object **ret);
int layout_dir_fd(const struct layout *l);

struct layout_entry {
	struct digest digest;
	uint64_t size;
	char media_type[128];
};

/* Parses an index.json; `name` is for messages. -ENOENT: no such tag, or none given and several
 * there. */
int layout_parse_index(const void *data, size_t size, const char *name, const char *tag,
		       struct layout_entry *ret);
