/* Only what leads to a zTOC is read. */
#include "format/soci_index.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_object.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"
#include "format/manifest_write.h"

#define KEY_LAYER "com.amazon.soci.image-layer-digest"
#define KEY_LAYER_TYPE "com.amazon.soci.image-layer-mediaType"
#define KEY_SPAN_SIZE "com.amazon.soci.span-size"
#define KEY_TOOL "com.amazon.soci.build-tool-identifier"
#define CONFIG "{}"

void soci_index_free(struct soci_index **i)
{
	if (*i)
		free((*i)->layers);
	free(*i);
	*i = NULL;
}

static int get_digest(const struct json_object *o, const char *key, struct digest *ret)
{
	const char *text;

	return json_field_string(o, key, &text) < 0 || digest_parse(text, strlen(text), ret) < 0 ? -EBADMSG : 0;
}

/* What is no zTOC (a list of what to prefetch) is passed over. */
static int add_layer(struct soci_index *i, const struct json_object *o)
{
	const struct soci_index_layer *same;
	struct soci_index_layer l = {0};
	struct json_object *annotations;
	const char *type;

	if (json_field_string(o, "mediaType", &type) < 0 || strcmp(type, SOCI_INDEX_ZTOC_TYPE) != 0 ||
	    json_field_object(o, "annotations", &annotations) < 0)
		return 0;
	if (get_digest(annotations, KEY_LAYER, &l.layer) < 0 || get_digest(o, "digest", &l.ztoc) < 0 ||
	    json_field_u64(o, "size", &l.ztoc_size) < 0)
		return -EBADMSG;
	same = soci_index_layer(i, &l.layer); /* an image may have a layer twice */
	if (same)
		return digest_equal(&same->ztoc, &l.ztoc) ? 0 : -EBADMSG; /* which of the two counts? */
	if (l.ztoc_size > LIMIT_LAZY_BLOB_SIZE || i->n_layers == LIMIT_LAYERS)
		return -EFBIG;
	i->layers[i->n_layers++] = l;
	return 0;
}

static int add_layers(const struct json_object *o, const char *name, struct soci_index *i)
{
	struct json_object *layers;
	size_t n;
	int r = 0;

	if (json_field_array(o, "layers", &layers, &n) < 0)
		return fail(EBADMSG, "%s: it has no list of zTOCs", name);
	for (size_t k = 0; r == 0 && k < n; k++) {
		r = add_layer(i, json_object_array_get_idx(layers, k));
		if (r == -EFBIG)
			return fail(EFBIG, "%s: its zTOC %zu is larger, or one more, than is allowed", name, k + 1);
		if (r < 0)
			return fail(-r, "%s: its zTOC %zu is described wrongly", name, k + 1);
	}
	return r;
}

static unsigned int version_of(const char *type)
{
	return strcmp(type, SOCI_INDEX_TYPE_1) == 0 ? 1 : strcmp(type, SOCI_INDEX_TYPE_2) == 0 ? 2 : 0;
}

static unsigned int get_version(const struct json_object *o)
{
	struct json_object *config;
	const char *type = "";
	unsigned int version;

	json_field_string(o, "artifactType", &type);
	version = version_of(type);
	if (version == 0 && json_field_object(o, "config", &config) == 0 &&
	    json_field_string(config, "mediaType", &type) == 0)
		version = version_of(type);
	return version;
}

int soci_index_parse(const void *data, size_t size, const char *name, struct soci_index **ret)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	_cleanup_(soci_index_free) struct soci_index *i = NULL;
	struct json_object *subject;
	int r;

	if (size > LIMIT_MANIFEST_SIZE)
		return fail(EFBIG, "%s: it has %zu bytes, at most %u are allowed", name, size, LIMIT_MANIFEST_SIZE);
	if (json_field_parse(data, size, &o) < 0 || !json_object_is_type(o, json_type_object))
		return fail(EBADMSG, "%s: it is not a JSON object", name);
	i = calloc(1, sizeof(*i));
	if (!i)
		return -ENOMEM;
	i->layers = calloc(LIMIT_LAYERS, sizeof(*i->layers));
	if (!i->layers)
		return -ENOMEM;
	i->version = get_version(o);
	if (i->version == 0)
		return fail(EOPNOTSUPP, "%s: it is no SOCI index of version 1 or 2", name);
	if (i->version == 1 &&
	    (json_field_object(o, "subject", &subject) < 0 || get_digest(subject, "digest", &i->subject) < 0))
		return fail(EBADMSG, "%s: it does not say which image it belongs to", name);
	r = add_layers(o, name, i);
	if (r < 0)
		return r;
	*ret = TAKE(i);
	return 0;
}

const struct soci_index_layer *soci_index_layer(const struct soci_index *i, const struct digest *layer)
{
	for (size_t k = 0; k < i->n_layers; k++)
		if (digest_equal(&i->layers[k].layer, layer))
			return &i->layers[k];
	return NULL;
}

/* As the image's manifest has it. */
static const char *layer_type(const struct json_object *manifest, const struct digest *layer)
{
	const char *type = "";
	struct json_object *layers;
	struct digest digest;
	size_t n = 0;

	if (json_field_array(manifest, "layers", &layers, &n) < 0)
		return type;
	for (size_t i = 0; i < n; i++) {
		const struct json_object *o = json_object_array_get_idx(layers, i);

		if (get_digest(o, "digest", &digest) == 0 && digest_equal(&digest, layer))
			json_field_string(o, "mediaType", &type);
	}
	return type;
}

static struct json_object *ztoc_descriptor(const struct json_object *manifest, const struct soci_index_layer *l,
					   uint64_t span_size)
{
	struct json_object *o = manifest_write_descriptor(SOCI_INDEX_ZTOC_TYPE, &l->ztoc, l->ztoc_size);
	char text[DIGEST_TEXT_MAX], number[24];

	snprintf(number, sizeof(number), "%" PRIu64, span_size);
	manifest_write_annotate(o, KEY_LAYER, digest_text(&l->layer, text));
	manifest_write_annotate(o, KEY_LAYER_TYPE, layer_type(manifest, &l->layer));
	return manifest_write_annotate(o, KEY_SPAN_SIZE, number);
}

/* The config's type says what it is, as in those that soci-snapshotter writes. */
int soci_index_build(const struct bytes *manifest, const char *type, const char *tool,
		     const struct soci_index_layer *layers, size_t n, uint64_t span_size, struct bytes *ret)
{
	_cleanup_(json_field_free) struct json_object *o = json_object_new_object(), *image = NULL;
	struct json_object *list = json_object_new_array();
	struct digest digest;

	hash_bytes(CONFIG, strlen(CONFIG), &digest);
	json_object_object_add(o, "schemaVersion", json_object_new_int(2));
	json_object_object_add(o, "mediaType", json_object_new_string(MANIFEST_WRITE_TYPE));
	json_object_object_add(o, "config", manifest_write_descriptor(SOCI_INDEX_TYPE_1, &digest, strlen(CONFIG)));
	json_object_object_add(o, "layers", list);
	if (json_field_parse(manifest->data, manifest->size, &image) < 0)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++)
		json_object_array_add(list, ztoc_descriptor(image, &layers[i], span_size));
	hash_bytes(manifest->data, manifest->size, &digest);
	json_object_object_add(o, "subject", manifest_write_descriptor(type, &digest, manifest->size));
	manifest_write_annotate(o, KEY_TOOL, tool);
	return manifest_write_text(o, ret);
}
