/* json-c keeps the order in which things are added. */
#include "format/manifest_write.h"

#include <errno.h>
#include <string.h>

struct json_object *manifest_write_descriptor(const char *type, const struct digest *d, uint64_t size)
{
	struct json_object *o = json_object_new_object();
	char text[DIGEST_TEXT_MAX];

	json_object_object_add(o, "mediaType", json_object_new_string(type));
	json_object_object_add(o, "digest", json_object_new_string(digest_text(d, text)));
	json_object_object_add(o, "size", json_object_new_uint64(size));
	return o;
}

struct json_object *manifest_write_annotate(struct json_object *o, const char *key, const char *value)
{
	struct json_object *annotations = json_object_object_get(o, "annotations");

	if (!annotations) {
		annotations = json_object_new_object();
		json_object_object_add(o, "annotations", annotations);
	}
	json_object_object_add(annotations, key, json_object_new_string(value));
	return o;
}

int manifest_write_text(struct json_object *o, struct bytes *ret)
{
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

	return text ? bytes_append(ret, text, strlen(text)) : -ENOMEM;
}
