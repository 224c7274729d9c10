/* Blobs are grouped by the image layer that their annotation names. */
#include "format/lazy_artifact.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_object.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/report.h"
#include "format/manifest_write.h"
#include "format/pack.h"
#include "format/profile.h"

#define EMPTY_TYPE "application/vnd.oci.empty.v1+json"
#define KEY_LAYER "vnd.lazyrun.layer"
#define KEY_COMMAND "vnd.lazyrun.pack.command"
#define KEY_HEAD "vnd.lazyrun.pack.head"
#define KEY_HEAD_SIZE "vnd.lazyrun.pack.head-size"
#define KEY_PROFILE "vnd.lazyrun.profile.command"

void lazy_artifact_free(struct lazy_artifact **artifact)
{
	struct lazy_artifact *a = *artifact;

	if (!a)
		return;
	for (size_t i = 0; i < a->n_packs; i++)
		free(a->packs[i].command);
	free(a->layers);
	free(a->packs);
	free(a->profiles);
	free(a);
	*artifact = NULL;
}

static int get_digest(const struct json_object *o, const char *key, struct digest *ret)
{
	const char *text;

	if (json_field_string(o, key, &text) < 0 || digest_parse(text, strlen(text), ret) < 0 ||
	    ret->algorithm != DIGEST_SHA256)
		return -EBADMSG;
	return 0;
}

static int get_blob(const struct json_object *o, uint64_t max, struct lazy_artifact_blob *ret)
{
	if (get_digest(o, "digest", &ret->digest) < 0 || json_field_u64(o, "size", &ret->size) < 0 || ret->size == 0)
		return -EBADMSG;
	return ret->size <= max ? 0 : -EFBIG;
}

/* The layer's entry, a new one when it is named for the first time. */
static int find_layer(struct lazy_artifact *a, const struct digest *layer, struct lazy_artifact_layer **ret)
{
	for (size_t i = 0; i < a->n_layers; i++)
		if (digest_equal(&a->layers[i].layer, layer)) {
			*ret = &a->layers[i];
			return 0;
		}
	if (a->n_layers == LIMIT_LAYERS)
		return -EFBIG;
	*ret = &a->layers[a->n_layers++];
	(*ret)->layer = *layer;
	return 0;
}

static int add_layer_blob(struct lazy_artifact *a, const struct json_object *o, const struct json_object *annotations,
			  const char *type)
{
	struct lazy_artifact_layer *l = NULL;
	struct lazy_artifact_blob *blob;
	struct digest layer;
	int r = get_digest(annotations, KEY_LAYER, &layer);

	if (r == 0)
		r = find_layer(a, &layer, &l);
	if (r < 0)
		return r;
	blob = strcmp(type, LAZY_ARTIFACT_INDEX_TYPE) == 0   ? &l->index
	       : strcmp(type, LAZY_ARTIFACT_SPANS_TYPE) == 0 ? &l->spans
							     : &l->windows;
	if (blob->digest.algorithm != DIGEST_NONE)
		return -EBADMSG; /* the second one could mean another layer */
	return get_blob(o, blob == &l->windows ? LIMIT_BLOB_SIZE : LIMIT_LAZY_BLOB_SIZE, blob);
}

/* In the one form in which lazy_artifact_command() writes it. */
static int check_command(const char *text)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	size_t n;

	if (strlen(text) > LIMIT_COMMAND_SIZE || json_field_parse(text, strlen(text), &o) < 0 ||
	    !json_object_is_type(o, json_type_array))
		return -EBADMSG;
	n = json_object_array_length(o);
	for (size_t i = 0; i < n; i++)
		if (!json_object_is_type(json_object_array_get_idx(o, i), json_type_string))
			return -EBADMSG;
	return n ? 0 : -EBADMSG;
}

static int add_pack(struct lazy_artifact *a, const struct json_object *o, const struct json_object *annotations)
{
	struct lazy_artifact_pack p = {0};
	const char *command, *size;
	char *end;
	int r;

	if (a->n_packs == LIMIT_PACKS)
		return -EFBIG;
	r = get_blob(o, LIMIT_PACK_FRAMES * (uint64_t)PACK_FRAME_PACKED_MAX + PACK_HEAD_MAX, &p.blob);
	if (r < 0)
		return r;
	if (get_digest(annotations, KEY_HEAD, &p.head) < 0 || json_field_string(annotations, KEY_COMMAND, &command) < 0 ||
	    check_command(command) < 0 || json_field_string(annotations, KEY_HEAD_SIZE, &size) < 0 || size[0] < '1' ||
	    size[0] > '9')
		return -EBADMSG;
	p.head_size = strtoull(size, &end, 10);
	if (*end || p.head_size > p.blob.size)
		return -EBADMSG;
	if (p.head_size > PACK_HEAD_MAX)
		return -EFBIG;
	p.command = strdup(command);
	if (!p.command)
		return -ENOMEM;
	a->packs[a->n_packs++] = p;
	return 0;
}

static int add_profile(struct lazy_artifact *a, const struct json_object *o, const struct json_object *annotations)
{
	struct lazy_artifact_profile p = {0};
	int r;

	if (a->n_profiles == LIMIT_PROFILES)
		return -EFBIG;
	r = get_blob(o, PROFILE_SIZE_MAX, &p.blob);
	if (r == 0)
		r = get_digest(annotations, KEY_PROFILE, &p.command);
	if (r == 0 && lazy_artifact_profile(a, &p.command))
		r = -EBADMSG;
	if (r == 0)
		a->profiles[a->n_profiles++] = p;
	return r;
}

static int add_blob(struct lazy_artifact *a, const struct json_object *o)
{
	struct json_object *annotations = NULL;
	const char *type;

	if (!json_object_is_type(o, json_type_object) || json_field_string(o, "mediaType", &type) < 0)
		return -EBADMSG;
	if (json_field_object(o, "annotations", &annotations) == -EBADMSG)
		return -EBADMSG;
	if (strcmp(type, LAZY_ARTIFACT_PACK_TYPE) == 0)
		return add_pack(a, o, annotations);
	if (strcmp(type, LAZY_ARTIFACT_PROFILE_TYPE) == 0)
		return add_profile(a, o, annotations);
	if (strcmp(type, LAZY_ARTIFACT_INDEX_TYPE) == 0 || strcmp(type, LAZY_ARTIFACT_SPANS_TYPE) == 0 ||
	    strcmp(type, LAZY_ARTIFACT_WINDOWS_TYPE) == 0)
		return add_layer_blob(a, o, annotations, type);
	return 0; /* of a newer lazyrun */
}

static int get_subject(const struct json_object *o, struct lazy_artifact *a)
{
	struct json_object *subject;
	const char *type = MANIFEST_WRITE_TYPE;

	if (json_field_object(o, "subject", &subject) < 0 || get_digest(subject, "digest", &a->subject) < 0 ||
	    json_field_u64(subject, "size", &a->subject_size) < 0 ||
	    json_field_string(subject, "mediaType", &type) == -EBADMSG || strlen(type) > LIMIT_MEDIA_TYPE_SIZE)
		return -EBADMSG;
	strcpy(a->subject_type, type);
	return 0;
}

static void get_created(const struct json_object *o, struct lazy_artifact *a)
{
	struct json_object *annotations;
	const char *created;

	if (json_field_object(o, "annotations", &annotations) == 0 &&
	    json_field_string(annotations, LAZY_ARTIFACT_CREATED, &created) == 0 && strlen(created) < sizeof(a->created))
		strcpy(a->created, created);
}

static int parse_blobs(const struct json_object *o, const char *name, struct lazy_artifact *a)
{
	struct json_object *blobs;
	size_t n;
	int r = 0;

	if (json_field_array(o, "layers", &blobs, &n) < 0)
		return fail(EBADMSG, "%s: it has no list of blobs", name);
	if (n > LIMIT_LAYERS * 3 + LIMIT_PACKS + LIMIT_PROFILES)
		return fail(EFBIG, "%s: it has %zu blobs, at most %u are allowed", name, n,
			    LIMIT_LAYERS * 3 + LIMIT_PACKS + LIMIT_PROFILES);
	for (size_t i = 0; i < n; i++) {
		r = add_blob(a, json_object_array_get_idx(blobs, i));
		if (r == -EFBIG)
			return fail(EFBIG, "%s: its blob %zu passes a limit", name, i + 1);
		if (r == -EBADMSG)
			return fail(EBADMSG, "%s: its blob %zu is described wrongly", name, i + 1);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < a->n_layers; i++)
		if (a->layers[i].index.digest.algorithm == DIGEST_NONE ||
		    a->layers[i].spans.digest.algorithm == DIGEST_NONE)
			return fail(EBADMSG, "%s: it has a layer without a layer index or span table", name);
	return 0;
}

int lazy_artifact_parse(const void *data, size_t size, const char *name, struct lazy_artifact **ret)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	_cleanup_(lazy_artifact_free) struct lazy_artifact *a = NULL;
	const char *type = "";
	int r;

	if (size > LIMIT_MANIFEST_SIZE)
		return fail(EFBIG, "%s: it has %zu bytes, at most %u are allowed", name, size, LIMIT_MANIFEST_SIZE);
	if (json_field_parse(data, size, &o) < 0 || !json_object_is_type(o, json_type_object))
		return fail(EBADMSG, "%s: it is not a JSON object", name);
	json_field_string(o, "artifactType", &type);
	if (strcmp(type, LAZY_ARTIFACT_TYPE) != 0)
		return fail(EOPNOTSUPP, "%s: it is not of the type " LAZY_ARTIFACT_TYPE, name);
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->layers = calloc(LIMIT_LAYERS, sizeof(*a->layers));
	a->packs = calloc(LIMIT_PACKS, sizeof(*a->packs));
	a->profiles = calloc(LIMIT_PROFILES, sizeof(*a->profiles));
	if (!a->layers || !a->packs || !a->profiles)
		return -ENOMEM;
	if (get_subject(o, a) < 0)
		return fail(EBADMSG, "%s: it does not say which image it belongs to", name);
	get_created(o, a);
	r = parse_blobs(o, name, a);
	if (r < 0)
		return r;
	*ret = TAKE(a);
	return 0;
}

static void add_layer_blobs(struct json_object *blobs, const struct lazy_artifact_layer *l)
{
	const struct {
		const char *type;
		const struct lazy_artifact_blob *blob;
	} parts[] = {{LAZY_ARTIFACT_INDEX_TYPE, &l->index},
		     {LAZY_ARTIFACT_SPANS_TYPE, &l->spans},
		     {LAZY_ARTIFACT_WINDOWS_TYPE, &l->windows}};
	char text[DIGEST_TEXT_MAX];

	digest_text(&l->layer, text);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (parts[i].blob->digest.algorithm != DIGEST_NONE)
			json_object_array_add(blobs, manifest_write_annotate(manifest_write_descriptor(parts[i].type, &parts[i].blob->digest,
									 parts[i].blob->size),
							      KEY_LAYER, text));
}

static void add_pack_blob(struct json_object *blobs, const struct lazy_artifact_pack *p)
{
	struct json_object *o = manifest_write_descriptor(LAZY_ARTIFACT_PACK_TYPE, &p->blob.digest, p->blob.size);
	char text[DIGEST_TEXT_MAX], size[24];

	snprintf(size, sizeof(size), "%" PRIu64, p->head_size);
	manifest_write_annotate(o, KEY_COMMAND, p->command);
	manifest_write_annotate(o, KEY_HEAD, digest_text(&p->head, text));
	manifest_write_annotate(o, KEY_HEAD_SIZE, size);
	json_object_array_add(blobs, o);
}

static void add_profile_blob(struct json_object *blobs, const struct lazy_artifact_profile *p)
{
	char text[DIGEST_TEXT_MAX];
	struct json_object *o = manifest_write_descriptor(LAZY_ARTIFACT_PROFILE_TYPE, &p->blob.digest, p->blob.size);

	manifest_write_annotate(o, KEY_PROFILE, digest_text(&p->command, text));
	json_object_array_add(blobs, o);
}

int lazy_artifact_build(const struct lazy_artifact *a, struct bytes *ret)
{
	_cleanup_(json_field_free) struct json_object *o = json_object_new_object();
	struct json_object *blobs = json_object_new_array();
	struct digest config = {0};

	digest_parse(LAZY_ARTIFACT_CONFIG_DIGEST, strlen(LAZY_ARTIFACT_CONFIG_DIGEST), &config);
	json_object_object_add(o, "schemaVersion", json_object_new_int(2));
	json_object_object_add(o, "mediaType", json_object_new_string(MANIFEST_WRITE_TYPE));
	json_object_object_add(o, "artifactType", json_object_new_string(LAZY_ARTIFACT_TYPE));
	json_object_object_add(o, "config", manifest_write_descriptor(EMPTY_TYPE, &config, strlen(LAZY_ARTIFACT_CONFIG)));
	json_object_object_add(o, "layers", blobs);
	for (size_t i = 0; i < a->n_layers; i++)
		add_layer_blobs(blobs, &a->layers[i]);
	for (size_t i = 0; i < a->n_packs; i++)
		add_pack_blob(blobs, &a->packs[i]);
	for (size_t i = 0; i < a->n_profiles; i++)
		add_profile_blob(blobs, &a->profiles[i]);
	json_object_object_add(o, "subject", manifest_write_descriptor(a->subject_type, &a->subject, a->subject_size));
	manifest_write_annotate(o, LAZY_ARTIFACT_CREATED, a->created);
	return manifest_write_text(o, ret);
}

const struct lazy_artifact_layer *lazy_artifact_layer(const struct lazy_artifact *a, const struct digest *layer)
{
	for (size_t i = 0; i < a->n_layers; i++)
		if (digest_equal(&a->layers[i].layer, layer))
			return &a->layers[i];
	return NULL;
}

const struct lazy_artifact_profile *lazy_artifact_profile(const struct lazy_artifact *a, const struct digest *command)
{
	for (size_t i = 0; i < a->n_profiles; i++)
		if (digest_equal(&a->profiles[i].command, command))
			return &a->profiles[i];
	return NULL;
}

int lazy_artifact_command(char *const *argv, struct bytes *ret)
{
	_cleanup_(json_field_free) struct json_object *o = json_object_new_array();
	const char *text;
	int r;

	for (; argv && *argv; argv++)
		json_object_array_add(o, json_object_new_string(*argv));
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	if (!text)
		return -ENOMEM;
	if (strlen(text) > LIMIT_COMMAND_SIZE)
		return -EFBIG;
	r = bytes_append(ret, text, strlen(text));
	return r < 0 ? r : bytes_terminate(ret);
}

/* How many bytes of the text are its first string, with what comes before it. */
static size_t program_size(const char *command)
{
	size_t n = strcspn(command, "\"");

	if (command[n])
		n++;
	while (command[n] && command[n] != '"')
		n += command[n] == '\\' && command[n + 1] ? 2 : 1;
	return n;
}

const struct lazy_artifact_pack *lazy_artifact_choose(const struct lazy_artifact *a, const char *command,
						      const char *fallback)
{
	size_t n = command ? program_size(command) : 0;

	for (size_t i = 0; command && i < a->n_packs; i++)
		if (strcmp(a->packs[i].command, command) == 0)
			return &a->packs[i];
	for (size_t i = 0; command && i < a->n_packs; i++)
		if (program_size(a->packs[i].command) == n && memcmp(a->packs[i].command, command, n) == 0)
			return &a->packs[i];
	for (size_t i = 0; fallback && i < a->n_packs; i++)
		if (strcmp(a->packs[i].command, fallback) == 0)
			return &a->packs[i];
	return NULL;
}
