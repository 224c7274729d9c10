/* The other image's manifest, or those of its index, one after the other, until one has the layer. */
#include "fetch/external_toc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"
#include "format/reference.h"

#define LAYER_DIGEST "containerd.io/snapshot/stargz/layer.digest"
#define PLATFORMS 16u /* looked at */

static bool belongs_to(const struct json_object *layer, const struct digest *blob)
{
	struct json_object *annotations;
	struct digest d;
	const char *text;

	return json_field_object(layer, "annotations", &annotations) == 0 &&
	       json_field_string(annotations, LAYER_DIGEST, &text) == 0 && digest_parse(text, strlen(text), &d) == 0 &&
	       digest_equal(&d, blob);
}

static int get_descriptor(const struct json_object *o, struct descriptor *ret)
{
	const char *text;

	*ret = (struct descriptor){0};
	if (json_field_string(o, "digest", &text) < 0 || digest_parse(text, strlen(text), &ret->digest) < 0 ||
	    json_field_u64(o, "size", &ret->size) < 0)
		return -EBADMSG;
	return 0;
}

/* -ENOENT: no layer of it is the one. */
static int find_layer(const struct json_object *manifest, const struct digest *blob, struct descriptor *ret)
{
	struct json_object *layers;
	size_t n;

	if (json_field_array(manifest, "layers", &layers, &n) < 0)
		return -ENOENT;
	for (size_t i = 0; i < n; i++)
		if (belongs_to(json_object_array_get_idx(layers, i), blob))
			return get_descriptor(json_object_array_get_idx(layers, i), ret);
	return -ENOENT;
}

static int get_manifest(struct source *source, const char *tag, const struct digest *digest, struct json_object **ret)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	char content_type[128];
	struct digest got;
	int r = source_get_manifest(source, tag, digest, &b, content_type, &got);

	return r < 0 ? r : json_field_parse(b.data, b.size, ret);
}

static int find_in_index(struct source *source, const struct json_object *index, const struct digest *blob,
			 struct descriptor *ret)
{
	struct json_object *manifests;
	size_t n;
	int r = -ENOENT;

	if (json_field_array(index, "manifests", &manifests, &n) < 0)
		return -ENOENT;
	for (size_t i = 0; r == -ENOENT && i < n && i < PLATFORMS; i++) {
		_cleanup_(json_field_free) struct json_object *manifest = NULL;
		struct descriptor d;

		if (get_descriptor(json_object_array_get_idx(manifests, i), &d) < 0)
			continue;
		r = get_manifest(source, NULL, &d.digest, &manifest);
		if (r == 0)
			r = find_layer(manifest, blob, ret);
	}
	return r;
}

int external_toc_get(struct source *source, const char *reference, const struct digest *blob, struct bytes *ret)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	char tag[sizeof((struct reference){0}.tag) + 16];
	struct descriptor d;
	struct reference ref;
	int r = reference_parse(reference, &ref);

	if (r < 0)
		return r;
	if (!ref.tag[0])
		return fail(EOPNOTSUPP, "its table of contents lies in an image with the tag of this one and \"-esgztoc\", "
					"but this one was asked for without a tag");
	snprintf(tag, sizeof(tag), "%s-esgztoc", ref.tag);
	r = get_manifest(source, tag, NULL, &o);
	if (r == 0)
		r = find_layer(o, blob, &d);
	if (r == -ENOENT && o)
		r = find_in_index(source, o, blob, &d);
	if (r < 0)
		return r == -ENOENT && !o ? r :
					    fail(-r, "the image with the tag %s has no table of contents for it", tag);
	return source_get_blob(source, &d, LIMIT_TOC_SIZE, ret);
}
