/* Byte layout, little-endian:
 *   head    "lazyPak1", u32 layers, u32 frames, u32 runs, u32 0,
 *           layers x sha256[32] of the layer index's blob,
 *           frames x {u32 packed size, u32 pages, u32 runs, u32 0, sha256[32] of the packed bytes},
 *           runs x {u32 layer, u32 pages, u64 first page}, in the order of the frames
 *   frames  one zstd frame each, in order, to the end of the blob
 */
#include "format/pack.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "format/zstd_blob.h"

#define MAGIC "lazyPak1"
#define FRAME_PAGES (PACK_FRAME_SIZE / PACK_PAGE)
#define SHA256_SIZE 32u

struct disk_head {
	uint8_t magic[8];
	uint32_t n_layers, n_frames, n_runs, zero;
};

struct disk_frame {
	uint32_t packed_size, n_pages, n_runs, zero;
	uint8_t sha256[SHA256_SIZE];
};

struct disk_run {
	uint32_t layer, n;
	uint64_t first;
};

static_assert(sizeof(struct disk_head) == 24 && sizeof(struct disk_frame) == 48 && sizeof(struct disk_run) == 16,
	      "as they lie in the blob");

struct pack {
	struct digest *layers;
	struct pack_frame *frames;
	struct pack_run *runs;
	size_t n_layers, n_frames, n_runs;
};

void pack_free(struct pack **pack)
{
	struct pack *p = *pack;

	if (!p)
		return;
	free(p->layers);
	free(p->frames);
	free(p->runs);
	free(p);
	*pack = NULL;
}

static int parse_counts(struct cursor *c, struct pack *p)
{
	const uint8_t *magic;
	uint32_t n_layers = 0, n_frames = 0, n_runs = 0, zero = 0;

	if (cursor_take(c, 8, &magic) < 0 || memcmp(magic, MAGIC, 8) != 0 || cursor_u32(c, &n_layers) < 0 ||
	    cursor_u32(c, &n_frames) < 0 || cursor_u32(c, &n_runs) < 0 || cursor_u32(c, &zero) < 0 || zero != 0)
		return -EBADMSG;
	if (n_layers > LIMIT_LAYERS || n_frames > LIMIT_PACK_FRAMES || n_runs > n_frames * FRAME_PAGES)
		return -EFBIG;
	/* The sizes are all known now: a head that is longer or shorter is none. */
	if (c->size - c->pos != n_layers * (size_t)SHA256_SIZE + n_frames * sizeof(struct disk_frame) +
					n_runs * sizeof(struct disk_run))
		return -EBADMSG;
	p->n_layers = n_layers;
	p->n_frames = n_frames;
	p->n_runs = n_runs;
	p->layers = calloc(p->n_layers + 1, sizeof(*p->layers));
	p->frames = calloc(p->n_frames + 1, sizeof(*p->frames));
	p->runs = calloc(p->n_runs + 1, sizeof(*p->runs));
	return p->layers && p->frames && p->runs ? 0 : -ENOMEM;
}

static int take_digest(struct cursor *c, struct digest *ret)
{
	const uint8_t *bytes;

	if (cursor_take(c, SHA256_SIZE, &bytes) < 0)
		return -EBADMSG;
	ret->algorithm = DIGEST_SHA256;
	memcpy(ret->bytes, bytes, SHA256_SIZE);
	return 0;
}

static int parse_frames(struct cursor *c, struct pack *p, uint64_t off, uint64_t blob_size)
{
	size_t run = 0;

	for (size_t i = 0; i < p->n_frames; i++) {
		struct pack_frame *f = &p->frames[i];
		uint32_t zero = 0;

		if (cursor_u32(c, &f->packed_size) < 0 || cursor_u32(c, &f->n_pages) < 0 ||
		    cursor_u32(c, &f->n_runs) < 0 || cursor_u32(c, &zero) < 0 || take_digest(c, &f->digest) < 0)
			return -EBADMSG;
		if (zero != 0 || f->packed_size == 0 || f->packed_size > PACK_FRAME_PACKED_MAX || f->n_pages == 0 ||
		    f->n_pages > FRAME_PAGES || f->n_runs == 0 || f->n_runs > p->n_runs - run ||
		    off > blob_size || f->packed_size > blob_size - off)
			return -EBADMSG;
		f->off = off;
		f->runs = p->runs + run;
		off += f->packed_size;
		run += f->n_runs;
	}
	return run == p->n_runs && off == blob_size ? 0 : -EBADMSG;
}

static int parse_runs(struct cursor *c, struct pack *p)
{
	for (size_t i = 0; i < p->n_frames; i++) {
		uint64_t pages = 0;

		for (size_t k = 0; k < p->frames[i].n_runs; k++) {
			struct pack_run *run = &p->runs[p->frames[i].runs - p->runs + k];

			if (cursor_u32(c, &run->layer) < 0 || cursor_u32(c, &run->n) < 0 ||
			    cursor_u64(c, &run->first) < 0)
				return -EBADMSG;
			if (run->layer >= p->n_layers || run->n == 0 || run->n > FRAME_PAGES ||
			    run->first > LIMIT_LAYER_FILE_SIZE / PACK_PAGE)
				return -EBADMSG;
			pages += run->n;
		}
		if (pages != p->frames[i].n_pages)
			return -EBADMSG;
	}
	return 0;
}

int pack_parse(const void *head, size_t head_size, uint64_t blob_size, struct pack **ret)
{
	_cleanup_(pack_free) struct pack *p = calloc(1, sizeof(*p));
	struct cursor c = {.data = head, .size = head_size};
	int r;

	if (!p)
		return -ENOMEM;
	r = head_size > PACK_HEAD_MAX ? -EFBIG : parse_counts(&c, p);
	for (size_t i = 0; r == 0 && i < p->n_layers; i++)
		r = take_digest(&c, &p->layers[i]);
	if (r == 0)
		r = parse_frames(&c, p, head_size, blob_size);
	if (r == 0)
		r = parse_runs(&c, p);
	if (r < 0)
		return r;
	*ret = TAKE(p);
	return 0;
}

size_t pack_n_layers(const struct pack *p)
{
	return p->n_layers;
}

const struct digest *pack_layer(const struct pack *p, size_t i)
{
	assert(i < p->n_layers);
	return &p->layers[i];
}

size_t pack_n_frames(const struct pack *p)
{
	return p->n_frames;
}

void pack_frame_get(const struct pack *p, size_t i, struct pack_frame *ret)
{
	assert(i < p->n_frames);
	*ret = p->frames[i];
}

int pack_frame_open(const struct pack_frame *f, const void *packed, size_t size, uint8_t *plain)
{
	size_t plain_size;
	struct digest got;
	int r;

	if (size != f->packed_size)
		return -EBADMSG;
	hash_bytes(packed, size, &got);
	if (!digest_equal(&got, &f->digest))
		return -EBADMSG;
	r = zstd_blob_size(packed, size, PACK_FRAME_SIZE, &plain_size);
	if (r < 0)
		return r;
	return plain_size == (size_t)f->n_pages * PACK_PAGE ? zstd_blob_unpack(packed, size, plain, plain_size) :
							      -EBADMSG;
}

struct builder_page {
	uint32_t layer, at; /* at: its place in `plain` */
	uint64_t page;
};

struct pack_builder {
	struct bytes layers, frames, runs, body; /* as they will lie in the blob */
	uint8_t plain[PACK_FRAME_SIZE], sorted[PACK_FRAME_SIZE];
	struct builder_page pages[FRAME_PAGES]; /* of the frame being filled */
	uint32_t n_layers, n_frames, n_runs, n_pages;
};

int pack_builder_new(const struct digest *layers, size_t n_layers, struct pack_builder **ret)
{
	_cleanup_(pack_builder_free) struct pack_builder *b = calloc(1, sizeof(*b));
	int r = 0;

	if (!b)
		return -ENOMEM;
	assert(n_layers <= LIMIT_LAYERS);
	for (size_t i = 0; r == 0 && i < n_layers; i++) {
		assert(layers[i].algorithm == DIGEST_SHA256);
		r = bytes_append(&b->layers, layers[i].bytes, SHA256_SIZE);
	}
	if (r < 0)
		return r;
	b->n_layers = (uint32_t)n_layers;
	*ret = TAKE(b);
	return 0;
}

void pack_builder_free(struct pack_builder **builder)
{
	struct pack_builder *b = *builder;

	if (!b)
		return;
	bytes_free(&b->layers);
	bytes_free(&b->frames);
	bytes_free(&b->runs);
	bytes_free(&b->body);
	free(b);
	*builder = NULL;
}

static int by_place(const void *a, const void *b)
{
	const struct builder_page *x = a, *y = b;

	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	return (x->page > y->page) - (x->page < y->page);
}

/* A frame is there as a whole or not at all, so its pages may lie in the order of their layers, which packs better. */
static int sort_pages(struct pack_builder *b, uint32_t *ret_runs)
{
	const uint32_t before = b->n_runs;
	int r = 0;

	qsort(b->pages, b->n_pages, sizeof(b->pages[0]), by_place);
	for (uint32_t i = 0, n; r == 0 && i < b->n_pages; i += n) {
		const struct builder_page *first = &b->pages[i];
		struct disk_run d = {.layer = htole32(first->layer), .first = htole64(first->page)};

		for (n = 1; i + n < b->n_pages && first[n].layer == first->layer && first[n].page == first->page + n; n++)
			;
		for (uint32_t k = 0; k < n; k++)
			memcpy(b->sorted + (size_t)(i + k) * PACK_PAGE, b->plain + (size_t)first[k].at * PACK_PAGE, PACK_PAGE);
		d.n = htole32(n);
		b->n_runs++;
		r = bytes_append(&b->runs, &d, sizeof(d));
	}
	*ret_runs = b->n_runs - before;
	return r;
}

static int end_frame(struct pack_builder *b)
{
	_cleanup_(bytes_free) struct bytes packed = {0};
	struct disk_frame d = {.n_pages = htole32(b->n_pages)};
	struct digest digest;
	uint32_t n_runs;
	int r;

	if (b->n_pages == 0)
		return 0;
	if (b->n_frames == LIMIT_PACK_FRAMES)
		return -EFBIG;
	r = sort_pages(b, &n_runs);
	if (r == 0)
		r = zstd_blob_pack(b->sorted, (size_t)b->n_pages * PACK_PAGE, &packed);
	if (r < 0)
		return r;
	hash_bytes(packed.data, packed.size, &digest);
	d.packed_size = htole32((uint32_t)packed.size);
	d.n_runs = htole32(n_runs);
	memcpy(d.sha256, digest.bytes, SHA256_SIZE);
	r = bytes_append(&b->frames, &d, sizeof(d));
	if (r == 0)
		r = bytes_append(&b->body, packed.data, packed.size);
	b->n_frames++;
	b->n_pages = 0;
	return r;
}

int pack_builder_add(struct pack_builder *b, uint32_t layer, uint64_t page, const void *data)
{
	assert(layer < b->n_layers);
	memcpy(b->plain + (size_t)b->n_pages * PACK_PAGE, data, PACK_PAGE);
	b->pages[b->n_pages] = (struct builder_page){.layer = layer, .at = b->n_pages, .page = page};
	b->n_pages++;
	return b->n_pages == FRAME_PAGES ? end_frame(b) : 0;
}

int pack_builder_finish(struct pack_builder *b, struct bytes *ret, size_t *ret_head_size)
{
	_cleanup_(bytes_free) struct bytes all = {0};
	struct disk_head head = {.magic = MAGIC, .n_layers = htole32(b->n_layers)};
	int r = end_frame(b);

	head.n_frames = htole32(b->n_frames);
	head.n_runs = htole32(b->n_runs);
	if (r == 0)
		r = bytes_append(&all, &head, sizeof(head));
	if (r == 0)
		r = bytes_append(&all, b->layers.data, b->layers.size);
	if (r == 0)
		r = bytes_append(&all, b->frames.data, b->frames.size);
	if (r == 0)
		r = bytes_append(&all, b->runs.data, b->runs.size);
	if (r < 0)
		return r;
	*ret_head_size = all.size;
	r = bytes_append(&all, b->body.data, b->body.size);
	if (r < 0)
		return r;
	*ret = all;
	all = (struct bytes){0};
	return 0;
}
