/* Layer by layer: inflate, follow the tar, note both; then the manifest that names the tables. */
#include "fetch/soci_write.h"

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
#include "fetch/artifact_push.h"
#include "fetch/image_referrers.h"
#include "fetch/tell.h"
#include "fetch/way_back.h"
#include "format/lazy_artifact.h"
#include "format/media_type.h"
#include "format/soci_index.h"
#include "format/ztoc.h"
#include "format/ztoc_write.h"

#define PIECE (256u << 10)

struct made {
	struct context *context;
	struct source *source;
	const struct image *image;
	struct tell tell;
	struct artifact_subject subject;
	struct soci_index_layer *layers;
	size_t n_layers;
	uint64_t size;
	struct json_object *notes; /* texts for the user; the answer's */
};

static void made_free(struct made *m)
{
	artifact_push_subject_free(&m->subject);
	free(m->layers);
}

/* A layer's packed bytes: those of a plain one are the layer file's. */
struct packed {
	uint64_t size;
	struct layer_store *layer;
	struct download *download; /* into fd, or of a layout's own file */
	int fd, part_fd;
};

static void packed_free(struct packed *p)
{
	download_free(&p->download);
	layer_store_free(&p->layer);
	fd_close(&p->fd);
	fd_close(&p->part_fd);
}

static int open_packed(struct made *m, const struct image_layer *l, struct packed *ret)
{
	const struct store *s = m->context->store;
	const struct layer_blob blob = {l->blob.digest, l->blob.size};
	int r;

	ret->size = l->blob.size;
	if (digest_equal(&l->blob.digest, &l->diff_id)) {
		r = layer_table_get(m->context->layers, l->key, &ret->layer);
		return r < 0 ? fail(EAGAIN, "layer %s is gone from the store; try again", l->key) : 0;
	}
	ret->fd = way_back_open_packed(m->context, l->key, &blob);
	if (ret->fd >= 0)
		return 0;
	ret->part_fd = openat(s->tmp_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (ret->part_fd < 0)
		return fail(errno, "no file for a packed layer in %s: %s", s->store_path, strerror(errno));
	return source_download(m->source, &l->blob, ret->part_fd, 0, &ret->download);
}

static int read_packed(struct packed *p, uint8_t *to, size_t size, uint64_t off)
{
	uint64_t available = 0;
	int r;

	if (p->layer) {
		r = layer_store_read(p->layer, to, size, off);
		return r == -EAGAIN ? fail(EAGAIN, "bytes of layer %s were evicted meanwhile; try again",
					   layer_store_key(p->layer)) :
				      r;
	}
	while (p->download && available < off + size) {
		r = download_wait(p->download, off + size - 1, &available);
		if (r < 0)
			return r;
	}
	return fd_pread_full(p->download ? download_fd(p->download) : p->fd, to, size, off);
}

struct passing {
	struct zinfo_make *make;
	struct ztoc_write *write;
	struct tar *tar;
	struct hash *hash;
	struct zinfo zinfo;
	uint8_t *in, *out; /* PIECE bytes each */
};

static void passing_free(struct passing *p)
{
	zinfo_make_free(&p->make);
	ztoc_write_free(&p->write);
	tar_free(&p->tar);
	hash_free(&p->hash);
	zinfo_make_result_free(&p->zinfo);
	free(p->in);
	free(p->out);
}

static int take_plain(struct passing *p, size_t size)
{
	for (size_t off = 0; off < size;) {
		struct tar_member m;
		size_t used;
		int r = tar_next(p->tar, p->out + off, size - off, &used, &m);

		if (r > 0)
			r = ztoc_write_member(p->write, &m);
		if (r < 0)
			return r;
		off += used;
	}
	return 0;
}

static int take_packed(struct passing *p, size_t size)
{
	int r = 0;

	hash_update(p->hash, p->in, size);
	for (size_t off = 0; r == 0 && off < size;) {
		size_t took, made;

		r = zinfo_make_run(p->make, p->in + off, size - off, &took, p->out, PIECE, &made);
		if (r == 0)
			r = take_plain(p, made);
		off += took;
	}
	return r;
}

static int begin(struct passing *p)
{
	int r;

	p->in = malloc(PIECE);
	p->out = malloc(PIECE);
	if (!p->in || !p->out)
		return -ENOMEM;
	r = hash_new(DIGEST_SHA256, &p->hash);
	if (r == 0)
		r = ztoc_write_new(&p->write);
	return r < 0 ? r : tar_new(&p->tar);
}

static int check_blob(struct passing *p, const struct descriptor *blob)
{
	char text[DIGEST_TEXT_MAX];
	struct digest got;

	if (blob->digest.algorithm != DIGEST_SHA256)
		return 0; /* checked when it was streamed; what is wrong here makes a table that nobody can use */
	hash_finish(p->hash, &got);
	return digest_equal(&got, &blob->digest) ?
		       0 :
		       fail(EBADMSG, "layer %s came with other bytes; try again", digest_text(&blob->digest, text));
}

/* The limits of who reads it, found out before others do. */
static int check_readable(const struct bytes *table)
{
	struct ztoc *z = NULL;
	int r = ztoc_parse(table->data, table->size, &z);

	ztoc_free(&z);
	return r;
}

/* -EOPNOTSUPP, -EFBIG: there is no table for it. */
static int make_table(struct made *m, const struct image_layer *l, struct bytes *ret)
{
	_cleanup_(packed_free) struct packed from = {.fd = -1, .part_fd = -1};
	_cleanup_(passing_free) struct passing p = {0};
	int r = begin(&p);

	if (r == 0)
		r = open_packed(m, l, &from);
	for (uint64_t off = 0; r == 0 && off < from.size; off += PIECE) {
		size_t n = from.size - off < PIECE ? (size_t)(from.size - off) : PIECE;

		tell_progress(&m->tell, m->n_layers, m->image->n_layers);
		r = read_packed(&from, p.in, n, off);
		if (r == 0 && off == 0)
			r = zinfo_make_new(decoder_sniff(p.in, n), &p.make);
		if (r == 0)
			r = take_packed(&p, n);
	}
	if (r == 0)
		r = check_blob(&p, &l->blob);
	if (r == 0)
		r = zinfo_make_finish(p.make, &p.zinfo);
	if (r == 0)
		r = ztoc_write_finish(p.write, &p.zinfo, tar_end_off(p.tar), ret);
	return r < 0 ? r : check_readable(ret);
}

static void note(struct made *m, const char *text)
{
	json_object_array_add(m->notes, json_object_new_string(text));
}

static int add_layer(struct made *m, const struct image_layer *l)
{
	_cleanup_(bytes_free) struct bytes table = {0};
	struct soci_index_layer *to = &m->layers[m->n_layers];
	char text[REPORT_TEXT_SIZE] = "", digest[DIGEST_TEXT_MAX], said[REPORT_TEXT_SIZE + 100];
	char *outer = report_capture(text);
	int r = make_table(m, l, &table);

	report_capture_again(outer);
	digest_text(&l->blob.digest, digest);
	if (r == -EOPNOTSUPP || r == -EFBIG || (r == -EBADMSG && !text[0])) {
		snprintf(said, sizeof(said), "layer %.19s stays out of the SOCI index: %s", digest,
			 text[0] ? text : "it cannot be entered in the middle");
		note(m, said);
		return 0;
	}
	if (r < 0)
		return fail(-r, "layer %.19s: %s", digest, text[0] ? text : strerror(-r));
	to->layer = l->blob.digest;
	to->ztoc_size = table.size;
	hash_bytes(table.data, table.size, &to->ztoc);
	m->size += table.size;
	m->n_layers++;
	return blob_store_put(m->context->store, &to->ztoc, table.data, table.size);
}

static bool is_there(const struct made *m, const struct digest *layer)
{
	for (size_t i = 0; i < m->n_layers; i++)
		if (digest_equal(&m->layers[i].layer, layer))
			return true;
	return false;
}

static int add_layers(struct made *m)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->image->n_layers; i++) {
		const struct image_layer *l = &m->image->layers[i];

		if (l->blob.size >= SOCI_INDEX_SMALL && !is_there(m, &l->blob.digest))
			r = add_layer(m, l);
	}
	if (r == 0 && m->n_layers == 0)
		return fail(EOPNOTSUPP, "%s has no layer for a SOCI index: all are smaller than 10 MiB, or cannot be "
					"entered in the middle", m->image->name.reference);
	return r;
}

static int push_to(struct made *m, struct source *to, const struct bytes *manifest, uint64_t *sent)
{
	struct digest digest;
	int r;

	r = artifact_push_config(to);
	for (size_t i = 0; r == 0 && i < m->n_layers; i++) {
		tell_progress(&m->tell, m->image->n_layers, m->image->n_layers);
		r = artifact_push_blob(m->context->store, to, &m->layers[i].ztoc, sent);
	}
	return r < 0 ? r : referrers_push(to, media_type_text(MEDIA_MANIFEST), manifest->data, manifest->size, &digest);
}

/* Whether it is listed already. Of several the first counts, for us and for soci-snapshotter. */
static bool is_listed(struct made *m, const struct bytes *manifest)
{
	_cleanup_(referrers_free) struct referrers *list = NULL;
	char text[REPORT_TEXT_SIZE], *outer = report_capture(text); /* pushing says more */
	struct digest digest;
	bool found = false, other = false;

	image_referrers_get(m->source, &m->subject.digest, &list);
	report_capture_again(outer);
	hash_bytes(manifest->data, manifest->size, &digest);
	for (size_t i = 0; list && i < list->n && !found; i++) {
		found = digest_equal(&list->list[i].digest, &digest);
		other |= !found && strcmp(list->list[i].artifact_type, SOCI_INDEX_TYPE_1) == 0;
	}
	if (other)
		note(m, "the image has another SOCI index, which is listed first and counts; remove that one");
	return found;
}

static int push(struct made *m, const struct bytes *manifest, uint64_t *sent, struct json_object *answer)
{
	_cleanup_(source_free) struct source *own = NULL;
	int r;

	if (is_listed(m, manifest))
		return 0;
	r = artifact_push_open(m->context, m->source, answer, &own);
	return r < 0 ? r : push_to(m, own ? own : m->source, manifest, sent);
}

static void drop_blobs(const struct made *m)
{
	char name[DIGEST_HEX_MAX + 1];

	for (size_t i = 0; i < m->n_layers; i++)
		unlinkat(m->context->store->blobs_fd, digest_hex(&m->layers[i].ztoc, name), 0);
}

static void add_number(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_int64((int64_t)n));
}

static void describe(const struct made *m, const struct bytes *manifest, struct json_object *answer)
{
	char text[DIGEST_TEXT_MAX];
	struct digest digest;
	uint64_t size = 0;

	for (size_t i = 0; i < m->image->n_layers; i++)
		size += m->image->layers[i].blob.size;
	hash_bytes(manifest->data, manifest->size, &digest);
	json_object_object_add(answer, "artifact", json_object_new_string(digest_text(&digest, text)));
	add_number(answer, "layers", m->n_layers);
	add_number(answer, "image_size", size);
	add_number(answer, "index_size", m->size);
}

int soci_write(struct context *c, struct source *source, const struct image *image, const struct soci_write_how *how,
	       struct json_object *answer)
{
	_cleanup_(made_free) struct made m = {
		.context = c, .source = source, .image = image, .tell = {c, how->connection, "index", 0}};
	_cleanup_(bytes_free) struct bytes manifest = {0};
	uint64_t sent = 0;
	int r = artifact_push_subject(c->store, image, &m.subject);

	m.notes = json_object_new_array();
	json_object_object_add(answer, "notes", m.notes);
	m.layers = calloc(image->n_layers + 1, sizeof(*m.layers));
	if (r == 0 && !m.layers)
		r = -ENOMEM;
	if (r == 0)
		r = add_layers(&m);
	if (r == 0)
		r = soci_index_build(&m.subject.manifest, m.subject.type, ZTOC_WRITE_TOOL, m.layers, m.n_layers,
				     ZINFO_SPAN_SIZE, &manifest);
	if (r == 0 && how->push)
		r = push(&m, &manifest, &sent, answer);
	drop_blobs(&m);
	if (r < 0)
		return r;
	describe(&m, &manifest, answer);
	json_object_object_add(answer, "pushed", json_object_new_boolean(how->push));
	add_number(answer, "sent_size", sent);
	return 0;
}
