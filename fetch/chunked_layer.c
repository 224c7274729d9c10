/* The footer and, mostly, the table come with one request; then the table becomes index and spans. */
#include "fetch/chunked_layer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/report.h"
#include "cache/layer_blob.h"
#include "cache/layer_new.h"
#include "fetch/external_toc.h"
#include "format/decoder.h"
#include "format/toc_layer.h"

/* A table has some 120 bytes for each file: a sixtieth of a usual layer. */
#define TAIL_PART 64u
#define TAIL_MIN (32u << 10)
#define TAIL_MAX (1u << 20)
#define PIECE (256u << 10)

void chunked_layer_key(const struct digest *blob, const struct toc_place *place, char ret[static LAYER_KEY_SIZE])
{
	const struct digest *parts[] = {blob, &place->packed, &place->plain};
	_cleanup_(bytes_free) struct bytes all = {0};
	char hex[DIGEST_HEX_MAX + 1];
	struct digest d;

	bytes_printf(&all, "%s\n", toc_place_name(place->kind));
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		bytes_printf(&all, "%s\n", parts[i]->algorithm == DIGEST_NONE ? "-" : digest_hex(parts[i], hex));
	hash_bytes(all.data, all.size, &d);
	snprintf(ret, LAYER_KEY_SIZE, "toc-%.64s", digest_hex(&d, hex));
}

static int get_range(struct source *source, const struct descriptor *blob, uint64_t off, uint64_t size, struct bytes *ret)
{
	int r = bytes_reserve(ret, (size_t)size + 1);

	if (r == 0)
		r = source_get_range(source, blob, off, (size_t)size, false, NULL, ret->data + ret->size);
	if (r == 0)
		ret->size += (size_t)size;
	return r;
}

/* From `p` on, of which `tail` holds the end of the blob. */
static int get_packed(struct source *source, const struct descriptor *blob, const struct toc_place *p,
		      const struct bytes *tail, struct bytes *ret)
{
	uint64_t tail_off = blob->size - tail->size, end = p->off + p->packed_size;
	uint64_t from_tail = end <= tail_off ? 0 : p->off >= tail_off ? p->packed_size : end - tail_off;
	int r = 0;

	if (p->off > blob->size || p->packed_size > blob->size - p->off)
		return fail(EBADMSG, "its table of contents lies behind its end");
	if (from_tail < p->packed_size)
		r = get_range(source, blob, p->off, p->packed_size - from_tail, ret);
	if (r == 0 && from_tail)
		r = bytes_append(ret, tail->data + (end - from_tail - tail_off), (size_t)from_tail);
	return r;
}

/* The table as packed. */
static int find(struct source *source, const char *reference, const struct descriptor *blob, struct toc_place *p,
		struct bytes *ret)
{
	_cleanup_(bytes_free) struct bytes tail = {0};
	uint64_t guess = blob->size / TAIL_PART;
	bool external = false;
	int r;

	if (p->packed_size)
		return get_packed(source, blob, p, &tail, ret);
	guess = guess < TAIL_MIN ? TAIL_MIN : guess > TAIL_MAX ? TAIL_MAX : guess;
	guess = guess < blob->size ? guess : blob->size;
	r = get_range(source, blob, blob->size - guess, guess, &tail);
	if (r < 0)
		return r;
	r = toc_place_footer(p, tail.data, tail.size, blob->size, &external);
	if (r < 0)
		return fail(EBADMSG, "the manifest names a table of contents for it (%s), but it has no footer that "
				     "leads there", toc_place_name(p->kind));
	return external ? external_toc_get(source, reference, &blob->digest, ret) :
			  get_packed(source, blob, p, &tail, ret);
}

static int too_large(uint64_t max)
{
	return fail(EFBIG, "its table of contents has more than %llu bytes", (unsigned long long)max);
}

static int unpack(enum decoder_kind kind, const struct bytes *packed, uint64_t max, struct bytes *ret)
{
	_cleanup_(decoder_free) struct decoder *d = NULL;
	size_t at = 0;
	int r = decoder_new(kind, &d);

	while (r == 0) {
		size_t took = 0, made = 0;

		r = bytes_reserve(ret, PIECE);
		if (r == 0)
			r = decoder_run(d, packed->data + at, packed->size - at, &took, ret->data + ret->size, PIECE, &made);
		at += took;
		ret->size += made;
		if (r == 0 && ret->size > max)
			return too_large(max);
		if (r == 0 && took == 0 && made == 0)
			return decoder_finish(d);
	}
	return r;
}

/* The JSON inside the tar that eStargz puts around it. *ret_off and *ret_size: where it lies. */
static int find_in_tar(const struct bytes *tar, size_t *ret_off, size_t *ret_size)
{
	_cleanup_(tar_free) struct tar *t = NULL;
	size_t at = 0, used = 0;
	struct tar_member m;
	int r = tar_new(&t);

	if (r == 0)
		r = tar_next(t, tar->data, tar->size, &used, &m);
	if (r <= 0)
		return r < 0 ? r : fail(EBADMSG, "its table of contents is not in the tar where it must be");
	at = (size_t)m.body_off;
	if (strcmp(m.path, "stargz.index.json") != 0 || m.sparse || at > tar->size || m.size > tar->size - at)
		return fail(EBADMSG, "its table of contents is not in the tar where it must be");
	*ret_off = at;
	*ret_size = (size_t)m.size;
	return 0;
}

static int verify(const struct digest *want, const uint8_t *data, size_t size)
{
	struct digest got;

	hash_bytes(data, size, &got);
	return want->algorithm == DIGEST_NONE || digest_equal(want, &got) ?
		       0 :
		       fail(EBADMSG, "its table of contents does not match the digest in the manifest");
}

/* *ret: what holds the JSON. */
static int open_table(const struct toc_place *p, const struct bytes *packed, struct bytes *ret, size_t *ret_off,
		      size_t *ret_size)
{
	uint64_t max = p->plain_size ? p->plain_size : LIMIT_TOC_SIZE;
	int r = verify(&p->packed, packed->data, packed->size);

	if (r == 0)
		r = unpack(p->kind == TOC_ESTARGZ ? DECODER_GZIP : DECODER_ZSTD, packed, max, ret);
	if (r < 0)
		return r;
	*ret_off = 0;
	*ret_size = ret->size;
	if (p->kind == TOC_ESTARGZ && (ret->size == 0 || ret->data[0] != '{'))
		r = find_in_tar(ret, ret_off, ret_size);
	return r < 0 ? r : verify(&p->plain, ret->data + *ret_off, *ret_size);
}

static int commit(struct context *c, struct layer_new *layer, const char *key, const char *repository,
		  const struct descriptor *blob, uint64_t layer_file_size, const struct bytes *spans)
{
	_cleanup_(bytes_free) struct bytes line = {0}, name = {0};
	int r = layer_blob_text(&(struct layer_blob){blob->digest, blob->size}, &line);

	if (r == 0)
		r = bytes_printf(&name, "%s\n", repository);
	if (r == 0)
		r = layer_new_file(layer, LAYER_BLOB_FILE, line.data, line.size);
	if (r == 0)
		r = layer_new_file(layer, "sources", name.data, name.size);
	if (r == 0)
		r = layer_new_commit_empty(layer, key, layer_file_size, spans);
	if (r == 0)
		layer_table_drop(c->layers, key); /* what was there was damaged */
	return r;
}

/* The verified table; *ret_off and *ret_size are the JSON in it. What is wrong is fetched once more. */
static int get_table(struct source *source, const char *reference, const struct descriptor *blob,
		     const struct toc_place *place, struct bytes *ret, size_t *ret_off, size_t *ret_size)
{
	char text[REPORT_TEXT_SIZE] = "", *outer;
	int r = -EBADMSG;

	outer = report_capture(text);
	for (int tries = 0; r == -EBADMSG && tries < 2; tries++) {
		_cleanup_(bytes_free) struct bytes packed = {0};
		struct toc_place p = *place;

		text[0] = '\0';
		bytes_free(ret);
		r = find(source, reference, blob, &p, &packed);
		if (r == 0)
			r = open_table(&p, &packed, ret, ret_off, ret_size);
	}
	report_capture_again(outer);
	return r < 0 && text[0] ? fail(-r, "%s", text) : r;
}

/* The JSON is dropped before the index is written: both may be large. */
static int build(struct source *source, const char *reference, const struct descriptor *blob,
		 const struct toc_place *place, struct layer_builder *b, struct bytes *ret_spans,
		 uint64_t *ret_index_size, uint64_t *ret_layer_file_size)
{
	_cleanup_(bytes_free) struct bytes table = {0};
	size_t off = 0, size = 0;
	uint64_t bodies = 0;
	int r = get_table(source, reference, blob, place, &table, &off, &size);

	if (r == 0)
		r = toc_layer_build(place->kind, table.data + off, size, blob->size, b, ret_spans, &bodies);
	return r < 0 ? r : layer_builder_finish(b, bodies, ret_index_size, ret_layer_file_size);
}

int chunked_layer_make(struct context *c, struct source *source, const char *repository, const char *reference,
		       const struct descriptor *blob, const struct toc_place *place)
{
	_cleanup_(layer_builder_free) struct layer_builder *builder = NULL;
	_cleanup_(layer_new_free) struct layer_new *layer = NULL;
	_cleanup_(bytes_free) struct bytes spans = {0};
	uint64_t index_size, layer_file_size;
	char key[LAYER_KEY_SIZE];
	void *index;
	int r;

	chunked_layer_key(&blob->digest, place, key);
	r = layer_table_is_made(c->layers, key);
	if (r != 0)
		return r < 0 ? r : 0;
	r = layer_builder_new(&builder);
	if (r == 0)
		r = build(source, reference, blob, place, builder, &spans, &index_size, &layer_file_size);
	if (r == 0)
		r = layer_new_open(c->store, &layer);
	if (r == 0)
		r = layer_new_index(layer, index_size, &index);
	if (r < 0)
		return r;
	layer_builder_render(builder, index);
	return commit(c, layer, key, repository, blob, layer_file_size, &spans);
}
