/* Only what leads to a zTOC is read. */
#include "format/soci_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_object.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"

#define KEY_LAYER "com.amazon.soci.image-layer-digest"

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
