/* Layer by layer into an unnamed file, from there to the destination; then config and manifest. */
#include "fetch/convert.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/json_field.h"
#include "base/report.h"
#include "cache/blob_store.h"
#include "fetch/image.h"
#include "fetch/layout_put.h"
#include "fetch/push.h"
#include "fetch/tell.h"
#include "format/chunk_pack.h"
#include "format/manifest_write.h"

#define PIECE (256u << 10)
#define GITHUB "io.github.containers.zstd-chunked."

struct convert {
	struct context *context;
	struct tell tell;
	struct image *image;
	struct source *to;
	struct source *staged; /* a layout in the store, in place of the user's */
	struct reference to_ref;
	enum toc_kind kind;
	struct chunk_packed *layers;
	size_t n_without_table;
	uint64_t size;
	size_t at; /* the layer at hand */
};

static void convert_free(struct convert *v)
{
	image_free(&v->image);
	source_free(&v->staged);
	free(v->layers);
}

/* The tar's next bytes: they belong to what is known so far, then perhaps a member begins. */
static int take_piece(struct chunk_pack *pack, struct tar *t, const uint8_t *data, size_t size)
{
	int r = 0;

	while (r == 0 && size > 0) {
		struct tar_member m;
		size_t used = 0;
		int found = tar_next(t, data, size, &used, &m);

		if (found < 0)
			return found;
		r = chunk_pack_feed(pack, data, used);
		if (r == 0 && found)
			r = chunk_pack_member(pack, &m);
		data += used;
		size -= used;
	}
	return r;
}

static int pack_tar(struct convert *v, struct layer_store *layer, bool with_table, int fd, struct chunk_packed *ret)
{
	_cleanup_(fd_free_memory) uint8_t *piece = malloc(PIECE);
	_cleanup_(chunk_pack_free) struct chunk_pack *pack = NULL;
	_cleanup_(tar_free) struct tar *t = NULL;
	uint64_t size = span_table_plain_size(layer_store_spans(layer));
	int r = piece ? tar_new(&t) : -ENOMEM;

	if (r == 0)
		r = chunk_pack_new(v->kind, with_table, fd, &pack);
	for (uint64_t off = 0; r == 0 && off < size; off += PIECE) {
		size_t n = size - off < PIECE ? (size_t)(size - off) : PIECE;

		tell_progress(&v->tell, v->at, v->image->n_layers);
		r = layer_store_read(layer, piece, n, off);
		if (r == -EAGAIN)
			return fail(EAGAIN, "bytes of layer %s were evicted meanwhile; try again", layer_store_key(layer));
		if (r == 0)
			r = take_piece(pack, t, piece, n);
	}
	return r < 0 ? r : chunk_pack_finish(pack, ret);
}

static int convert_layer(struct convert *v, size_t i)
{
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;
	_cleanup_(fd_close) int fd = openat(v->context->store->tmp_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct chunk_packed *made = &v->layers[i];
	const char *key = v->image->layers[i].key;
	int r;

	v->at = i;
	if (fd < 0)
		return fail(errno, "no file for a packed layer in %s: %s", v->context->store->store_path, strerror(errno));
	if (v->image->layers[i].from != IMAGE_LAYER_TAR || layer_table_get(v->context->layers, key, &layer) < 0)
		return fail(EAGAIN, "layer %s is gone from the store; try again", key);
	r = pack_tar(v, layer, true, fd, made);
	if (r == -EOPNOTSUPP || r == -EFBIG) {
		v->n_without_table++;
		if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
			return -errno;
		r = pack_tar(v, layer, false, fd, made);
	}
	if (r == 0)
		r = push_blob(v->to, &made->digest, &(struct transport_upload){.fd = fd, .size = made->size}, NULL, NULL);
	v->size += made->size;
	return r;
}

static void add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

static void add_digest(struct json_object *o, const char *key, const struct digest *d)
{
	char text[DIGEST_TEXT_MAX];

	add_text(o, key, digest_text(d, text));
}

static struct json_object *annotations(const struct convert *v, const struct chunk_packed *l)
{
	struct json_object *o = json_object_new_object();
	char text[100];

	if (v->kind == TOC_ESTARGZ) {
		add_digest(o, "containerd.io/snapshot/stargz/toc.digest", &l->toc_plain);
		return o;
	}
	add_digest(o, GITHUB "manifest-checksum", &l->toc_packed);
	snprintf(text, sizeof(text), "%" PRIu64 ":%" PRIu64 ":%" PRIu64 ":1", l->toc_off, l->toc_packed_size,
		 l->toc_plain_size);
	add_text(o, GITHUB "manifest-position", text);
	snprintf(text, sizeof(text), "%" PRIu64 ":%" PRIu64 ":%" PRIu64, l->split_off, l->split_packed_size,
		 l->split_plain_size);
	add_text(o, GITHUB "tarsplit-position", text);
	return o;
}

static int push_json(struct convert *v, struct json_object *o, struct digest *ret_digest, uint64_t *ret_size)
{
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	size_t size = text ? strlen(text) : 0;

	if (!text)
		return -ENOMEM;
	hash_bytes(text, size, ret_digest);
	*ret_size = size;
	return push_blob(v->to, ret_digest, &(struct transport_upload){.data = text, .size = size, .fd = -1}, NULL, NULL);
}

/* The image's own, with the diffIDs that its layers have now. */
static int push_config(struct convert *v, struct digest *ret_digest, uint64_t *ret_size)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	_cleanup_(bytes_free) struct bytes b = {0};
	struct json_object *rootfs, *ids = json_object_new_array();
	int r = blob_store_get(v->context->store, &v->image->config, LIMIT_CONFIG_SIZE, &b);

	if (r == 0)
		r = json_field_parse(b.data, b.size, &o);
	if (r == 0)
		r = json_field_object(o, "rootfs", &rootfs);
	for (size_t i = 0; r == 0 && i < v->image->n_layers; i++) {
		char text[DIGEST_TEXT_MAX];

		json_object_array_add(ids, json_object_new_string(digest_text(&v->layers[i].diff_id, text)));
	}
	if (r < 0) {
		json_field_free(&ids);
		return fail(-r, "the config of %s is not in the store as it was: %s", v->image->name.reference, strerror(-r));
	}
	json_object_object_add(rootfs, "diff_ids", ids);
	return push_json(v, o, ret_digest, ret_size);
}

static int push_all(struct convert *v, struct digest *ret)
{
	_cleanup_(json_field_free) struct json_object *o = json_object_new_object();
	struct json_object *layers = json_object_new_array();
	const char *text, *type = media_type_text(v->kind == TOC_ESTARGZ ? MEDIA_LAYER_TAR_GZIP : MEDIA_LAYER_TAR_ZSTD);
	struct digest config = {0};
	uint64_t size = 0;
	int r = push_config(v, &config, &size);

	json_object_object_add(o, "schemaVersion", json_object_new_int(2));
	add_text(o, "mediaType", media_type_text(MEDIA_MANIFEST));
	if (r == 0)
		json_object_object_add(o, "config", manifest_write_descriptor(media_type_text(MEDIA_CONFIG), &config, size));
	json_object_object_add(o, "layers", layers);
	for (size_t i = 0; r == 0 && i < v->image->n_layers; i++) {
		const struct chunk_packed *l = &v->layers[i];
		struct json_object *d = manifest_write_descriptor(type, &l->digest, l->size);

		if (l->toc_plain.algorithm != DIGEST_NONE)
			json_object_object_add(d, "annotations", annotations(v, l));
		json_object_array_add(layers, d);
	}
	if (r < 0)
		return r;
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	return text ? push_manifest(v->to, v->to_ref.tag[0] ? v->to_ref.tag : NULL, media_type_text(MEDIA_MANIFEST), text,
				    strlen(text), ret, NULL) :
		      -ENOMEM;
}

static int begin(struct convert *v, struct json_object *o, struct json_object *answer)
{
	struct image_want want = {.pull = IMAGE_PULL_NEVER, .trust = IMAGE_TRUST_WHOLE};
	const char *reference = "", *destination = "", *to = "";
	struct json_object *access = NULL;
	struct reference ref, staged;
	int r;

	json_field_string(o, "reference", &reference);
	json_field_string(o, "destination", &destination);
	json_field_string(o, "to", &to);
	json_field_string(o, "platform", &want.platform);
	json_field_object(o, "access", &access);
	v->kind = strcmp(to, toc_place_name(TOC_ESTARGZ)) == 0	     ? TOC_ESTARGZ :
		  strcmp(to, toc_place_name(TOC_ZSTD_CHUNKED)) == 0 ? TOC_ZSTD_CHUNKED :
								       TOC_NONE;
	if (v->kind == TOC_NONE)
		return fail(EINVAL, "--to %s is not known; choose estargz or zstd:chunked", to);
	r = reference_parse(reference, &ref);
	if (r == 0)
		r = reference_parse(destination, &v->to_ref);
	if (r == 0 && v->to_ref.kind == REFERENCE_LAYOUT) {
		r = layout_put_stage(v->context->store, &staged);
		if (r == 0)
			json_object_object_add(answer, "staged", json_object_new_string(staged.path));
		if (r == 0)
			r = source_open(v->context->transport, &staged, NULL, &v->staged);
		v->to = v->staged;
	} else if (r == 0) {
		r = source_table_get(v->context->sources, &v->to_ref, access, &v->to);
	}
	want.ref = &ref;
	if (r == 0)
		r = image_resolve(v->context, &want, NULL, &v->image);
	if (r < 0)
		return r;
	v->layers = calloc(v->image->n_layers, sizeof(*v->layers));
	return v->layers ? 0 : -ENOMEM;
}

int convert_image(struct context *c, uint32_t connection, struct json_object *o, struct json_object *answer)
{
	_cleanup_(convert_free) struct convert v = {.context = c, .tell = {c, connection, "convert", 0}};
	struct digest manifest;
	int r = begin(&v, o, answer);

	for (size_t i = 0; r == 0 && i < v.image->n_layers; i++)
		r = convert_layer(&v, i);
	if (r == 0)
		r = push_all(&v, &manifest);
	if (r < 0)
		return r;
	add_digest(answer, "manifest", &manifest);
	json_object_object_add(answer, "layers", json_object_new_int64((int64_t)v.image->n_layers));
	json_object_object_add(answer, "without_table", json_object_new_int64((int64_t)v.n_without_table));
	json_object_object_add(answer, "size", json_object_new_int64((int64_t)v.size));
	return 0;
}
