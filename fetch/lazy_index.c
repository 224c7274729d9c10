/* Each layer's index, spans and windows as they lie in the store become blobs; so do the pages that were recorded. */
#include "fetch/lazy_index.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"
#include "cache/artifacts.h"
#include "cache/blob_store.h"
#include "fetch/artifact_push.h"
#include "fetch/ensure_layers.h"
#include "fetch/image_referrers.h"
#include "fetch/layer_links.h"
#include "fetch/lazy.h"
#include "fetch/profile_blob.h"
#include "fetch/referrers.h"
#include "fetch/tell.h"
#include "fetch/way_back.h"
#include "format/lazy_artifact.h"
#include "format/media_type.h"
#include "format/pack.h"
#include "format/zstd_blob.h"

struct made {
	struct context *context;
	struct source *source;
	const struct image *image;
	const struct lazy_index_how *how;
	struct tell tell;
	struct lazy_artifact *artifact;
	struct lazy_artifact *before; /* what the image has now; NULL: none */
	struct digest before_digest;
	struct layer_store *layers[LIMIT_LAYERS]; /* of the artifact's layers */
	uint32_t numbers[LIMIT_LAYERS];
	uint64_t index_size, spans_size, windows_size, pack_size;
};

static void made_free(struct made *m)
{
	for (size_t i = 0; i < LIMIT_LAYERS; i++)
		layer_store_free(&m->layers[i]);
	lazy_artifact_free(&m->artifact);
	lazy_artifact_free(&m->before);
}

static int keep_blob(struct made *m, const struct bytes *b, struct lazy_artifact_blob *ret)
{
	ret->size = b->size;
	hash_bytes(b->data, b->size, &ret->digest);
	return blob_store_put(m->context->store, &ret->digest, b->data, b->size);
}

static int read_file(int dir_fd, const char *name, struct bytes *ret)
{
	int r = fd_read_file(dir_fd, name, LIMIT_LAZY_BLOB_SIZE, ret);

	return r < 0 ? fail(-r, "%s of a layer cannot be read: %s", name, strerror(-r)) : 0;
}

static int pack_index(struct made *m, int dir_fd, struct lazy_artifact_blob *ret)
{
	_cleanup_(bytes_free) struct bytes plain = {0}, packed = {0};
	int r = read_file(dir_fd, "index.erofs", &plain);

	if (r == 0)
		r = zstd_blob_pack(plain.data, plain.size, &packed);
	return r < 0 ? r : keep_blob(m, &packed, ret);
}

/* As they are: they are asked for by range, each packed by itself. */
static int take_windows(struct made *m, int dir_fd, struct lazy_artifact_blob *ret)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	int r = fd_read_file(dir_fd, "windows", LIMIT_LAZY_BLOB_SIZE, &b);

	if (r == -ENOENT || (r == 0 && b.size == 0))
		return 0;
	return r < 0 ? fail(-r, "windows of a layer cannot be read: %s", strerror(-r)) : keep_blob(m, &b, ret);
}

/* The same spans, filled only as the whole blob passes by. -EOPNOTSUPP: it has bytes that no place of the tar has. */
static int passing_table(const struct layer_store *layer, struct bytes *ret)
{
	_cleanup_(span_table_builder_free) struct span_table_builder b = {0};
	const struct span_table *t = layer_store_spans(layer);
	_cleanup_(fd_free_memory) uint8_t *plain = malloc(SPAN_SIZE);
	int r = plain ? 0 : -ENOMEM;

	b.plain_size = span_table_plain_size(t);
	for (size_t i = 0; r == 0 && i < span_table_count(t); i++) {
		struct span s, passing = {.kind = SPAN_PASSING, .digest_of = SPAN_DIGEST_PLAIN};

		span_table_get(t, i, &s);
		if (s.kind != SPAN_NONE || s.size > SPAN_SIZE)
			return -EOPNOTSUPP;
		passing.off = s.off;
		passing.size = s.size;
		r = layer_store_read(layer, plain, (size_t)s.size, s.off);
		if (r == 0) {
			hash_bytes(plain, (size_t)s.size, &passing.digest);
			r = span_table_add(&b, &passing);
		}
	}
	return r < 0 ? r : span_table_finish(&b, ret);
}

/* The span table, then the link table. */
static int pack_spans(struct made *m, const struct layer_store *layer, int dir_fd, bool passing, struct lazy_artifact_blob *ret)
{
	_cleanup_(bytes_free) struct bytes spans = {0}, links = {0}, packed = {0}, more = {0};
	int r = passing ? passing_table(layer, &spans) : read_file(dir_fd, "spans", &spans);

	if (r == 0)
		r = layer_links_make(layer, &links);
	if (r == -EAGAIN)
		return fail(EAGAIN, "bytes of layer %s were evicted meanwhile; try again", layer_store_key(layer));
	if (r == 0)
		r = zstd_blob_pack(spans.data, spans.size, &packed);
	if (r == 0)
		r = zstd_blob_pack(links.data, links.size, &more);
	if (r == 0)
		r = bytes_append(&packed, more.data, more.size);
	return r < 0 ? r : keep_blob(m, &packed, ret);
}

static int add_layer(struct made *m, const struct image_layer *l, bool passing)
{
	const struct store *s = m->context->store;
	_cleanup_(fd_close) int dir_fd = beneath_cache_open(s->layers_fd, l->key, O_RDONLY | O_DIRECTORY, 0);
	size_t n = m->artifact->n_layers;
	struct lazy_artifact_layer *to = &m->artifact->layers[n];
	int r;

	if (dir_fd < 0)
		return fail(-dir_fd, "layer %s is gone from the store; try again", l->key);
	to->layer = l->blob.digest;
	r = layer_table_get(m->context->layers, l->key, &m->layers[n]);
	if (r == 0)
		r = pack_spans(m, m->layers[n], dir_fd, passing, &to->spans);
	if (r == 0)
		r = pack_index(m, dir_fd, &to->index);
	if (r == 0 && !passing)
		r = take_windows(m, dir_fd, &to->windows);
	if (r == 0)
		r = number_table_find_layer(m->context->numbers, l->key, &m->numbers[n]);
	if (r < 0)
		return r;
	m->artifact->n_layers++;
	m->index_size += to->index.size;
	m->spans_size += to->spans.size;
	m->windows_size += to->windows.size;
	return 0;
}

/* Whether each of its bytes comes back from the blob by itself. */
static bool has_spans(struct made *m, const struct image_layer *l)
{
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;
	struct span span;

	if (layer_table_get(m->context->layers, l->key, &layer) < 0 ||
	    span_table_count(layer_store_spans(layer)) == 0)
		return false;
	span_table_get(layer_store_spans(layer), 0, &span);
	return span.kind != SPAN_NONE && (digest_equal(&l->blob.digest, &l->diff_id) || span.kind != SPAN_STORED);
}

static int make_spans(struct made *m, const struct image_layer *l)
{
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;
	int r = layer_table_get(m->context->layers, l->key, &layer);

	r = r < 0 ? 0 : way_back_make(m->context, layer, NULL);
	return r < 0 ? r : 0;
}

static int add_layers(struct made *m)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->image->n_layers; i++) {
		const struct image_layer *l = &m->image->layers[i];
		char text[DIGEST_TEXT_MAX];

		if (l->blob.size <= ENSURE_LAYERS_SMALL || lazy_artifact_layer(m->artifact, &l->blob.digest))
			continue;
		tell_progress(&m->tell, i, m->image->n_layers);
		r = make_spans(m, l);
		if (r == 0)
			r = add_layer(m, l, !has_spans(m, l));
		if (r == -EOPNOTSUPP) {
			report_note("layer %.19s of %s cannot be entered in the middle: it stays out of the artifact",
				    digest_text(&l->blob.digest, text), m->image->name.reference);
			r = 0;
		}
	}
	return r;
}

/* The pages that were read, each once, in order. */
struct touched {
	struct made *made;
	struct pack_builder *builder;
	uint8_t *seen[LIMIT_LAYERS]; /* a bit a page */
};

static void touched_free(struct touched *t)
{
	for (size_t i = 0; i < LIMIT_LAYERS; i++)
		free(t->seen[i]);
	pack_builder_free(&t->builder);
}

static int add_page(struct touched *t, uint32_t layer, uint64_t page)
{
	const struct layer_store *store = t->made->layers[layer];
	uint64_t off = page * LAYER_PAGE, size = layer_store_size(store);
	uint8_t data[PACK_PAGE] = {0};
	int r;

	if (off >= size || t->seen[layer][page / 8] & 1u << (page % 8))
		return 0;
	t->seen[layer][page / 8] |= (uint8_t)(1u << (page % 8));
	r = layer_store_read(store, data, size - off < LAYER_PAGE ? (size_t)(size - off) : LAYER_PAGE, off);
	return r < 0 ? fail(-r, "recorded bytes of layer %s are not here any more; try again", layer_store_key(store)) :
		       pack_builder_add(t->builder, layer, page, data);
}

static int add_pages(struct touched *t)
{
	const struct made *m = t->made;
	size_t n = m->how->touched->size / sizeof(struct need_touched);
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct need_touched at;
		uint32_t layer = 0;

		memcpy(&at, m->how->touched->data + i * sizeof(at), sizeof(at));
		while (layer < m->artifact->n_layers && m->numbers[layer] != at.number)
			layer++;
		for (uint64_t page = 0; r == 0 && layer < m->artifact->n_layers && page < at.n_pages; page++)
			r = add_page(t, layer, at.first_page + page);
	}
	return r;
}

static int build_pack(struct made *m, struct bytes *ret, size_t *ret_head_size)
{
	_cleanup_(touched_free) struct touched t = {.made = m};
	_cleanup_(fd_free_memory) struct digest *indexes = calloc(m->artifact->n_layers + 1, sizeof(*indexes));
	int r = indexes ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < m->artifact->n_layers; i++) {
		indexes[i] = m->artifact->layers[i].index.digest;
		t.seen[i] = calloc(1, (size_t)(layer_store_size(m->layers[i]) / LAYER_PAGE / 8) + 1);
		if (!t.seen[i])
			r = -ENOMEM;
	}
	if (r == 0)
		r = pack_builder_new(indexes, m->artifact->n_layers, &t.builder);
	if (r == 0)
		r = add_pages(&t);
	if (r == 0)
		r = pack_builder_finish(t.builder, ret, ret_head_size);
	return r == -EFBIG ? fail(EFBIG, "more was read than a start pack may hold; record a shorter run") : r;
}

static int add_pack(struct made *m, const struct lazy_artifact_pack *p)
{
	struct lazy_artifact_pack copy = *p;

	if (m->artifact->n_packs == LIMIT_PACKS)
		return fail(EFBIG, "the artifact has %u start packs already", LIMIT_PACKS);
	copy.command = strdup(p->command);
	if (!copy.command)
		return -ENOMEM;
	m->artifact->packs[m->artifact->n_packs++] = copy;
	return 0;
}

static int make_pack(struct made *m)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	struct lazy_artifact_pack p = {0};
	size_t head_size;
	int r = build_pack(m, &b, &head_size);

	if (r < 0)
		return r;
	p.head_size = head_size;
	p.command = (char *)m->how->command;
	hash_bytes(b.data, head_size, &p.head);
	r = keep_blob(m, &b, &p.blob);
	m->pack_size = b.size;
	return r < 0 ? r : add_pack(m, &p);
}

/* Packs of the artifact so far stay, but the one that is replaced. */
static int keep_packs(struct made *m)
{
	int r = 0;

	for (size_t i = 0; m->before && r == 0 && i < m->before->n_packs; i++)
		if (!m->how->touched || strcmp(m->before->packs[i].command, m->how->command) != 0)
			r = add_pack(m, &m->before->packs[i]);
	return r;
}

static int begin(struct made *m)
{
	struct lazy_artifact *a = m->artifact = calloc(1, sizeof(*a));
	_cleanup_(artifact_push_subject_free) struct artifact_subject subject = {0};
	_cleanup_(referrers_free) struct referrers *list = NULL;
	char text[REPORT_TEXT_SIZE], *outer;
	int r;

	if (!a)
		return -ENOMEM;
	a->layers = calloc(LIMIT_LAYERS, sizeof(*a->layers));
	a->packs = calloc(LIMIT_PACKS, sizeof(*a->packs));
	a->profiles = calloc(LIMIT_PROFILES, sizeof(*a->profiles));
	if (!a->layers || !a->packs || !a->profiles)
		return -ENOMEM;
	r = artifact_push_subject(m->context->store, m->image, &subject);
	if (r < 0)
		return r;
	a->subject = subject.digest;
	a->subject_size = subject.size;
	strcpy(a->subject_type, subject.type);
	outer = report_capture(text); /* a broken one is replaced */
	r = image_referrers_get(m->source, &a->subject, &list);
	if (r == 0)
		r = lazy_find(m->context, m->image, m->source, list, &m->before);
	report_capture_again(outer);
	if (r == 0)
		r = artifacts_get(m->context->store, ARTIFACTS_LAZY, m->image->repository, &a->subject, &m->before_digest);
	if (r < 0 && m->how->add_record)
		return fail(ENOENT, "%s has no artifact to which a start pack could be added; make one: lazyrun index "
				    "--push --record", m->image->name.reference);
	return 0;
}

/* The same content again is the same artifact. Else the newest counts, so it says when it was made; the first one
 * without a pack or profile says what the image says, to be the same wherever it is made. */
static int settle_created(struct made *m, struct bytes *ret)
{
	struct lazy_artifact *a = m->artifact;
	time_t now = time(NULL);
	struct tm tm;
	int r;

	if (m->before) {
		_cleanup_(bytes_free) struct bytes before = {0};

		memcpy(a->created, m->before->created, sizeof(a->created));
		r = lazy_artifact_build(a, ret);
		if (r == 0)
			r = lazy_artifact_build(m->before, &before);
		if (r < 0 || (before.size == ret->size && memcmp(before.data, ret->data, ret->size) == 0))
			return r;
		bytes_free(ret);
	}
	if (!m->before && a->n_packs + a->n_profiles == 0 && strlen(m->image->created) < sizeof(a->created))
		strcpy(a->created, m->image->created);
	else
		strftime(a->created, sizeof(a->created), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	return lazy_artifact_build(a, ret);
}

/* Blobs first, the manifest that names them last. */
static int push_to(struct made *m, struct source *to, const struct bytes *manifest, uint64_t *sent)
{
	const struct lazy_artifact *a = m->artifact;
	const struct store *s = m->context->store;
	struct digest digest;
	int r;

	r = artifact_push_config(to);
	for (size_t i = 0; r == 0 && i < a->n_layers; i++) {
		tell_progress(&m->tell, i, a->n_layers);
		r = artifact_push_blob(s, to, &a->layers[i].index.digest, sent);
		if (r == 0)
			r = artifact_push_blob(s, to, &a->layers[i].spans.digest, sent);
		if (r == 0)
			r = artifact_push_blob(s, to, &a->layers[i].windows.digest, sent);
	}
	for (size_t i = 0; r == 0 && i < a->n_packs; i++)
		r = artifact_push_blob(s, to, &a->packs[i].blob.digest, sent);
	for (size_t i = 0; r == 0 && i < a->n_profiles; i++)
		r = artifact_push_blob(s, to, &a->profiles[i].blob.digest, sent);
	return r < 0 ? r : referrers_push(to, media_type_text(MEDIA_MANIFEST), manifest->data, manifest->size, &digest);
}

static int push(struct made *m, const struct bytes *manifest, uint64_t *sent, struct json_object *answer)
{
	_cleanup_(source_free) struct source *own = NULL;
	int r = artifact_push_open(m->context, m->source, answer, &own);

	return r < 0 ? r : push_to(m, own ? own : m->source, manifest, sent);
}

static void drop_blob(const struct store *s, const struct lazy_artifact_blob *b)
{
	char name[DIGEST_HEX_MAX + 1];

	if (b->digest.algorithm != DIGEST_NONE)
		unlinkat(s->blobs_fd, digest_hex(&b->digest, name), 0);
}

/* A start here has the layers, and elsewhere gets them from the repository. */
static void drop_blobs(const struct made *m)
{
	const struct lazy_artifact *a = m->artifact;

	for (size_t i = 0; i < a->n_layers; i++) {
		drop_blob(m->context->store, &a->layers[i].index);
		drop_blob(m->context->store, &a->layers[i].spans);
		drop_blob(m->context->store, &a->layers[i].windows);
	}
	for (size_t i = 0; i < a->n_packs; i++)
		drop_blob(m->context->store, &a->packs[i].blob);
	for (size_t i = 0; i < a->n_profiles; i++)
		drop_blob(m->context->store, &a->profiles[i].blob);
}

static void add_number(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_int64((int64_t)n));
}

static void describe(const struct made *m, const struct digest *artifact, struct json_object *answer)
{
	char text[DIGEST_TEXT_MAX];
	uint64_t size = 0;

	for (size_t i = 0; i < m->image->n_layers; i++)
		size += m->image->layers[i].blob.size;
	json_object_object_add(answer, "artifact", json_object_new_string(digest_text(artifact, text)));
	add_number(answer, "layers", m->artifact->n_layers);
	add_number(answer, "packs", m->artifact->n_packs);
	add_number(answer, "profiles", m->artifact->n_profiles);
	add_number(answer, "image_size", size);
	add_number(answer, "index_size", m->index_size);
	add_number(answer, "spans_size", m->spans_size);
	add_number(answer, "windows_size", m->windows_size);
	add_number(answer, "pack_size", m->pack_size);
}

int lazy_index(struct context *c, struct source *source, const struct image *image, const struct lazy_index_how *how,
	       struct json_object *answer)
{
	_cleanup_(made_free) struct made m = {
		.context = c, .source = source, .image = image, .how = how, .tell = {c, how->connection, "index", 0}};
	_cleanup_(bytes_free) struct bytes manifest = {0};
	struct digest digest;
	uint64_t sent = 0;
	int r = begin(&m);

	if (r == 0)
		r = add_layers(&m);
	if (r == 0 && m.artifact->n_layers == 0)
		return fail(EOPNOTSUPP, "%s has no layer that an artifact would make lazy: all are small, or cannot be "
					"entered in the middle", image->name.reference);
	if (r == 0)
		r = keep_packs(&m);
	if (r == 0 && how->touched)
		r = make_pack(&m);
	if (r == 0)
		r = profile_blob_add(c, &image->name.manifest, m.before, how->profiles, m.artifact);
	if (r == 0)
		r = settle_created(&m, &manifest);
	if (r < 0)
		return r;
	hash_bytes(manifest.data, manifest.size, &digest);
	if (how->push && !digest_equal(&digest, &m.before_digest))
		r = push(&m, &manifest, &sent, answer);
	drop_blobs(&m);
	if (r < 0)
		return r;
	describe(&m, &digest, answer);
	json_object_object_add(answer, "pushed", json_object_new_boolean(how->push));
	add_number(answer, "sent_size", sent);
	return r;
}
