/* The kind of document is settled first, from all that says so; then only its own fields count. */
#include "format/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_object.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"
#include "format/soci_index.h"

#define EMPTY_TYPE "application/vnd.oci.empty.v1+json"

void manifest_free(struct manifest **m)
{
	if (!*m)
		return;
	free((*m)->layers);
	free((*m)->tables);
	free((*m)->entries);
	free(*m);
	*m = NULL;
}

static bool has(const struct json_object *o, const char *key)
{
	return json_object_object_get(o, key) != NULL;
}

/* A text of at most `max` printable characters. Absent is "". */
static int get_text(const struct json_object *o, const char *key, size_t max, const char **ret)
{
	int r = json_field_string(o, key, ret);

	if (r == -ENOENT)
		*ret = "";
	else if (r < 0)
		return r;
	if (strlen(*ret) > max)
		return -EFBIG;
	for (const char *c = *ret; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			return -EBADMSG;
	return 0;
}

/* `what` names the descriptor ("layer 3"). An algorithm that we do not have leaves DIGEST_NONE. */
static int parse_descriptor(const struct json_object *o, const char *name, const char *what,
			    struct descriptor *ret, const char **ret_media_type)
{
	struct descriptor d = {0};
	const char *media_type = "", *digest;
	int r = get_text(o, "mediaType", LIMIT_MEDIA_TYPE_SIZE, &media_type);

	if (r < 0 || !media_type[0])
		return fail(EBADMSG, "%s: %s of its manifest has no usable mediaType", name, what);
	d.type = media_type_parse(media_type);
	r = json_field_string(o, "digest", &digest);
	if (r == 0)
		r = digest_parse(digest, strlen(digest), &d.digest);
	if (r < 0 && r != -EOPNOTSUPP)
		return fail(EBADMSG, "%s: %s of its manifest has no valid digest", name, what);
	r = json_field_u64(o, "size", &d.size);
	if (r < 0)
		return fail(EBADMSG, "%s: %s of its manifest has no valid size", name, what);
	*ret = d;
	*ret_media_type = media_type;
	return 0;
}

/* A descriptor whose blob we shall fetch: digest known, size within the limit. */
static int parse_blob(const struct json_object *o, const char *name, const char *what, uint64_t max,
		      struct descriptor *ret, const char **ret_media_type)
{
	struct descriptor d;
	int r = parse_descriptor(o, name, what, &d, ret_media_type);

	if (r < 0)
		return r;
	if (d.digest.algorithm == DIGEST_NONE)
		return fail(EOPNOTSUPP,
			    "%s: the digest of %s uses an algorithm other than sha256 and sha512",
			    name, what);
	if (d.size > max)
		return fail(EFBIG, "%s: %s has %" PRIu64 " bytes, at most %" PRIu64 " are allowed",
			    name, what, d.size, max);
	*ret = d;
	return 0;
}

static int refuse_artifact(const char *name, const char *type)
{
	return fail(EOPNOTSUPP,
		    "%s is an artifact of type %s, not an image: there is nothing in it to run",
		    name, type);
}

static int refuse_layer(const char *name, size_t i, const char *type)
{
	if (strstr(type, "+encrypted"))
		return fail(
			EOPNOTSUPP,
			"%s: layer %zu is encrypted (%s), which is not supported; decrypt the image "
			"first: skopeo copy --decryption-key ...",
			name, i, type);
	return fail(EOPNOTSUPP,
		    "%s: layer %zu has the type %s, which is no kind of layer that is known", name,
		    i, type);
}

/* The digest in an annotation. One that is none is as good as absent: nothing but speed hangs on it. */
static void get_annotation(const struct json_object *o, const char *key, struct digest *ret)
{
	struct json_object *annotations;
	struct digest d = {0};
	const char *text;

	if (json_field_object(o, "annotations", &annotations) == 0 && json_field_string(annotations, key, &text) == 0 &&
	    digest_parse(text, strlen(text), &d) == 0)
		*ret = d;
}

struct census { /* of the types of a manifest's layers */
	size_t n_known;
	size_t first_unknown; /* counted from 1 */
	const char *unknown_type;
};

/* An artifact looks like an image, only that its types are others. Known layers below an unknown
 * config are an image all the same: old docker wrote application/octet-stream there. */
static int check_is_image(const struct manifest *m, const char *name, const char *artifact_type,
			  const char *config_type, const struct census *c)
{
	bool all_known = c->n_known == m->n_layers;
	const char *layer_type = c->unknown_type;

	if (m->config.type == MEDIA_CONFIG) {
		if (all_known)
			return 0;
		if (artifact_type[0])
			return refuse_artifact(name, artifact_type);
		if (c->n_known == 0 && !strstr(layer_type, "+encrypted"))
			return refuse_artifact(name, layer_type);
		return refuse_layer(name, c->first_unknown, layer_type);
	}
	if (artifact_type[0])
		return refuse_artifact(name, artifact_type);
	if (!all_known && strcmp(config_type, EMPTY_TYPE) == 0)
		return refuse_artifact(name, layer_type);
	if (!all_known || m->n_layers == 0 || strcmp(config_type, EMPTY_TYPE) == 0)
		return refuse_artifact(name, config_type);
	return 0;
}

static int parse_layers(const struct json_object *o, const char *name, struct manifest *m)
{
	const char *artifact_type, *config_type;
	struct json_object *config, *layers;
	struct census c = {.unknown_type = ""};
	int r;

	if (json_field_object(o, "config", &config) < 0)
		return fail(EBADMSG, "%s: its manifest has no config", name);
	r = parse_blob(config, name, "the config", LIMIT_CONFIG_SIZE, &m->config, &config_type);
	if (r < 0)
		return r;
	if (get_text(o, "artifactType", LIMIT_MEDIA_TYPE_SIZE, &artifact_type) < 0)
		return fail(EBADMSG, "%s: its manifest's artifactType is not a media type", name);
	r = json_field_array(o, "layers", &layers, &m->n_layers);
	if (r == -ENOENT)
		return fail(EBADMSG, "%s: its manifest has no layers", name);
	if (r < 0)
		return fail(EBADMSG, "%s: the layers of its manifest are not an array", name);
	if (m->n_layers > LIMIT_LAYERS)
		return fail(EFBIG, "%s has %zu layers, at most %u are allowed", name, m->n_layers,
			    LIMIT_LAYERS);
	m->layers = calloc(m->n_layers + 1, sizeof(*m->layers));
	m->tables = calloc(m->n_layers + 1, sizeof(*m->tables));
	if (!m->layers || !m->tables)
		return -ENOMEM;
	for (size_t i = 0; i < m->n_layers; i++) {
		const char *type;
		char what[32];

		snprintf(what, sizeof(what), "layer %zu", i + 1);
		r = parse_blob(json_object_array_get_idx(layers, i), name, what, LIMIT_BLOB_SIZE,
			       &m->layers[i], &type);
		if (r < 0)
			return r;
		toc_place_find(json_object_array_get_idx(layers, i), m->layers[i].type, &m->tables[i]);
		if (media_type_is_layer(m->layers[i].type)) {
			c.n_known++;
		} else if (!c.unknown_type[0]) {
			c.unknown_type = type;
			c.first_unknown = i + 1;
		}
	}
	get_annotation(o, "com.amazon.soci.index-digest", &m->soci);
	return check_is_image(m, name, artifact_type, config_type, &c);
}

/* A field of a platform; *ret_size bytes at ret. */
static int copy_text(const struct json_object *o, const char *key, char *ret, size_t ret_size)
{
	const char *text;
	int r = get_text(o, key, ret_size - 1, &text);

	if (r == 0)
		strcpy(ret, text);
	return r;
}

static int parse_entry(const struct json_object *o, const char *name, size_t number,
		       struct manifest_entry *e)
{
	struct json_object *platform;
	const char *type;
	char what[32];
	int r;

	snprintf(what, sizeof(what), "entry %zu", number);
	r = parse_descriptor(o, name, what, &e->descriptor, &type);
	if (r < 0)
		return r;
	/* Signatures, attestations and what comes with other digests: there, but never chosen. */
	if ((e->descriptor.type != MEDIA_INDEX && e->descriptor.type != MEDIA_MANIFEST) ||
	    e->descriptor.digest.algorithm == DIGEST_NONE || has(o, "artifactType"))
		e->descriptor.type = MEDIA_OTHER;
	r = json_field_object(o, "platform", &platform);
	if (r == -EBADMSG)
		return fail(EBADMSG, "%s: the platform of entry %zu of its index is not an object",
			    name, number);
	if (r == 0) {
		e->has_platform = true;
		if (copy_text(platform, "os", e->platform.os, sizeof(e->platform.os)) < 0 ||
		    copy_text(platform, "architecture", e->platform.architecture,
			      sizeof(e->platform.architecture)) < 0 ||
		    copy_text(platform, "variant", e->platform.variant,
			      sizeof(e->platform.variant)) < 0 ||
		    copy_text(platform, "os.version", e->platform.os_version,
			      sizeof(e->platform.os_version)) < 0)
			return fail(EBADMSG,
				    "%s: entry %zu of its index has a platform that cannot be read",
				    name, number);
	}
	return 0;
}

/* SOCI indexes of version 2 are entries too, each with the manifest that it belongs to. */
static void bind_soci(const struct json_object *o, struct manifest *m, const struct manifest_entry *index)
{
	const char *type = "";
	struct digest of = {0};

	json_field_string(o, "artifactType", &type);
	if (strcmp(type, SOCI_INDEX_TYPE_2) == 0)
		get_annotation(o, "com.amazon.soci.image-manifest-digest", &of);
	for (size_t i = 0; of.algorithm != DIGEST_NONE && i < m->n_entries; i++)
		if (digest_equal(&m->entries[i].descriptor.digest, &of))
			m->entries[i].soci = index->descriptor.digest;
}

static int parse_entries(const struct json_object *o, const char *name, struct manifest *m)
{
	struct json_object *entries;
	int r = json_field_array(o, "manifests", &entries, &m->n_entries);

	if (r < 0)
		return fail(EBADMSG, "%s: its index has no array of manifests", name);
	if (m->n_entries > LIMIT_INDEX_ENTRIES)
		return fail(EFBIG, "%s: its index has %zu manifests, at most %u are allowed", name,
			    m->n_entries, LIMIT_INDEX_ENTRIES);
	m->entries = calloc(m->n_entries + 1, sizeof(*m->entries));
	if (!m->entries)
		return -ENOMEM;
	for (size_t i = 0; i < m->n_entries; i++) {
		r = parse_entry(json_object_array_get_idx(entries, i), name, i + 1, &m->entries[i]);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < m->n_entries; i++)
		bind_soci(json_object_array_get_idx(entries, i), m, &m->entries[i]);
	return 0;
}

/* Servers of plain files say these, and mean nothing by it. */
static bool says_nothing(const char *type, size_t size)
{
	static const char *const generic[] = {"", "application/json", "text/plain",
					      "application/octet-stream", "binary/octet-stream"};

	for (size_t i = 0; i < sizeof(generic) / sizeof(generic[0]); i++)
		if (strlen(generic[i]) == size && memcmp(generic[i], type, size) == 0)
			return true;
	return false;
}

/* The type that the document itself and the header that came with it agree on; "" when neither
 * says. */
static int settle_type(const struct json_object *o, const char *content_type, const char *name,
		       const char **ret)
{
	size_t size = content_type ? media_type_size(content_type) : 0;
	const char *body;

	if (get_text(o, "mediaType", LIMIT_MEDIA_TYPE_SIZE, &body) < 0)
		return fail(EBADMSG, "%s: its manifest's mediaType is not a media type", name);
	if (!content_type || says_nothing(content_type, size)) {
		*ret = body;
		return 0;
	}
	if (body[0] && (strlen(body) != size || memcmp(body, content_type, size) != 0))
		return fail(
			EBADMSG,
			"%s: the registry says that its manifest is %.*s, but inside it says %s; such a "
			"document can mean two images and is refused",
			name, (int)(size < 200 ? size : 200), content_type, body);
	*ret = body[0] ? body : content_type;
	return 0;
}

static int refuse_schema1(const char *name)
{
	return fail(
		EOPNOTSUPP,
		"%s is stored in docker's old format (schema 1), which cannot be used; push it again "
		"with a current docker, podman or skopeo",
		name);
}

static int settle_kind(const struct json_object *o, const char *content_type, const char *name,
		       bool *ret_is_index)
{
	bool as_index = has(o, "manifests"), as_manifest = has(o, "layers") || has(o, "config");
	uint64_t version;
	const char *type;
	enum media_type kind;
	int r = settle_type(o, content_type, name, &type);

	if (r < 0)
		return r;
	r = json_field_u64(o, "schemaVersion", &version);
	if ((r == 0 && version == 1) || has(o, "fsLayers") ||
	    strstr(type, ".distribution.manifest.v1+"))
		return refuse_schema1(name);
	if (r == -EBADMSG || (r == 0 && version != 2))
		return fail(EBADMSG, "%s: its manifest's schemaVersion is not 2", name);
	if (as_index && as_manifest)
		return fail(
			EBADMSG,
			"%s: its manifest claims to be an image and an index of images at once; such a "
			"document can mean two images and is refused (CVE-2021-41190)",
			name);
	kind = media_type_parse(type);
	if (strstr(type, "artifact.manifest.v1+json")) {
		if (get_text(o, "artifactType", LIMIT_MEDIA_TYPE_SIZE, &type) < 0 || !type[0])
			type = "unknown";
		return refuse_artifact(name, type);
	}
	if (type[0] && kind != MEDIA_INDEX && kind != MEDIA_MANIFEST)
		return fail(
			EOPNOTSUPP,
			"%s: its type is %.200s, which is neither an image nor an index of images",
			name, type);
	if ((kind == MEDIA_INDEX && as_manifest) || (kind == MEDIA_MANIFEST && as_index))
		return fail(EBADMSG,
			    "%s: its manifest says it is %s, but holds what the other kind has",
			    name, type);
	if (!as_index && !as_manifest)
		return fail(EBADMSG, "%s: its manifest has neither layers nor manifests", name);
	/* Absent, schemaVersion makes it no OCI document, but what it means is clear. */
	*ret_is_index = as_index;
	return 0;
}

int manifest_parse(const void *data, size_t size, const char *content_type, const char *name,
		   struct manifest **ret)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	_cleanup_(manifest_free) struct manifest *m = NULL;
	int r;

	if (size > LIMIT_MANIFEST_SIZE)
		return fail(EFBIG, "%s: its manifest has %zu bytes, at most %u are allowed", name,
			    size, LIMIT_MANIFEST_SIZE);
	r = json_field_parse(data, size, &o);
	if (r == -ENOMEM)
		return r;
	if (r == -EFBIG)
		return fail(EFBIG, "%s: its manifest has more than %u values", name,
			    LIMIT_JSON_VALUES);
	if (r < 0 || !json_object_is_type(o, json_type_object))
		return fail(
			EBADMSG,
			"%s: what should be its manifest is not a JSON object; does a proxy or login page "
			"answer in place of the registry?",
			name);
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	r = settle_kind(o, content_type, name, &m->is_index);
	if (r < 0)
		return r;
	r = m->is_index ? parse_entries(o, name, m) : parse_layers(o, name, m);
	if (r < 0)
		return r;
	*ret = TAKE(m);
	return 0;
}

/* Build tools list what belongs to an image, like its provenance, as one for no platform. */
static bool is_real(const struct manifest_entry *e)
{
	return e->descriptor.type != MEDIA_OTHER && e->has_platform && e->platform.os[0] &&
	       e->platform.architecture[0] && strcmp(e->platform.os, "unknown") != 0 &&
	       strcmp(e->platform.architecture, "unknown") != 0;
}

static int refuse_platform(const struct manifest *index, const struct platform *wanted,
			   const char *name)
{
	_cleanup_(bytes_free) struct bytes list = {0};
	char text[128];
	size_t n = 0;

	for (size_t i = 0; i < index->n_entries; i++) {
		if (!is_real(&index->entries[i]))
			continue;
		if (n++ < 16 && bytes_printf(&list, "%s%s", n > 1 ? ", " : "",
					     platform_text(&index->entries[i].platform, text)) < 0)
			return -ENOMEM;
	}
	if (n > 16 && bytes_printf(&list, " and %zu more", n - 16) < 0)
		return -ENOMEM;
	if (bytes_terminate(&list) < 0)
		return -ENOMEM;
	platform_text(wanted, text);
	if (n == 0)
		return fail(ENOENT, "%s has no image for %s: its index lists no image at all", name,
			    text);
	return fail(ENOENT, "%s has no image for %s; there is: %s; choose one with --platform",
		    name, text, (const char *)list.data);
}

int manifest_choose(const struct manifest *index, const struct platform *wanted, const char *name,
		    const struct manifest_entry **ret)
{
	const struct manifest_entry *best = NULL, *unnamed = NULL;
	bool any_named = false;
	int best_distance = 0;

	for (size_t i = 0; i < index->n_entries; i++) {
		const struct manifest_entry *e = &index->entries[i];
		int distance;

		if (!e->has_platform && e->descriptor.type != MEDIA_OTHER && !unnamed)
			unnamed = e;
		if (!is_real(e))
			continue;
		any_named = true;
		distance = platform_distance(wanted, &e->platform);
		if (distance >= 0 && (!best || distance < best_distance)) {
			best = e;
			best_distance = distance;
		}
	}
	if (!best && !any_named)
		best = unnamed;
	if (!best)
		return refuse_platform(index, wanted, name);
	if (best->descriptor.size > LIMIT_MANIFEST_SIZE)
		return fail(EFBIG, "%s: its manifest has %" PRIu64 " bytes, at most %u are allowed",
			    name, best->descriptor.size, LIMIT_MANIFEST_SIZE);
	*ret = best;
	return 0;
}
