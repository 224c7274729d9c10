/* One pass over the entries; where a chunk's packed bytes end is known when all offsets are. */
#include "format/toc_layer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "format/span_table.h"
#include "format/toc.h"

#define PAGE 4096u
#define BLOCK 512u

struct chunk {
	uint64_t off, size; /* in the layer file */
	uint64_t packed_off, packed_end, skip;
	uint8_t sha256[32];
};

struct building {
	enum toc_kind kind;
	uint64_t blob_size;
	struct layer_builder *builder;
	struct chunk *chunks;
	uint64_t *offsets; /* where something packed begins: as many as chunks, then sorted */
	size_t n, capacity, n_offsets, offsets_capacity;
	uint64_t next; /* where the next body may begin */
	/* The file that chunks are added to: */
	char path[128]; /* for messages, perhaps cut */
	uint64_t file_off, file_size, file_done, file_packed_end;
	struct digest file_digest;
	bool file_is_hidden;
};

static void building_free(struct building *g)
{
	free(g->chunks);
	free(g->offsets);
}

static int wrong(const struct building *g, const char *what)
{
	return fail(EBADMSG, "its table of contents is broken: the content of \"%s\" %s", g->path, what);
}

static_assert(LIMIT_TOC_CHUNKS >= LIMIT_TOC_SIZE / 64, "a chunk names its digest in 64 digits: the table's size bounds them first");

static int grow(void **list, size_t n, size_t *capacity, size_t size)
{
	size_t more = *capacity ? *capacity * 2 : 1024;
	void *p;

	if (n < *capacity)
		return 0;
	if (n >= LIMIT_TOC_CHUNKS)
		return fail(EFBIG, "its table of contents has more than %u chunks", LIMIT_TOC_CHUNKS);
	p = reallocarray(*list, more, size);
	if (!p)
		return -ENOMEM;
	*list = p;
	*capacity = more;
	return 0;
}

static int add_offset(struct building *g, uint64_t off)
{
	int r;

	if (g->n_offsets && g->offsets[g->n_offsets - 1] == off)
		return 0;
	r = grow((void **)&g->offsets, g->n_offsets, &g->offsets_capacity, sizeof(*g->offsets));
	if (r == 0)
		g->offsets[g->n_offsets++] = off;
	return r;
}

static int finish_file(const struct building *g)
{
	return g->file_done == g->file_size ? 0 : wrong(g, "ends before its size");
}

static int add_packed(struct building *g, const struct toc_chunk *c, uint64_t size)
{
	const struct digest *digest = c->digest.algorithm != DIGEST_NONE ? &c->digest :
				      size == g->file_size		 ? &g->file_digest :
									   NULL;
	struct chunk *new;
	int r;

	if (!digest || digest->algorithm != DIGEST_SHA256)
		return wrong(g, "has a chunk without a digest");
	if (size > LIMIT_SPAN_SIZE || c->skip > LIMIT_SPAN_SIZE)
		return fail(EFBIG, "a chunk of \"%s\" has %" PRIu64 " bytes, at most %u are allowed", g->path,
			    size > c->skip ? size : c->skip, LIMIT_SPAN_SIZE);
	if (c->packed_off >= g->blob_size)
		return wrong(g, "lies behind the layer's end");
	r = grow((void **)&g->chunks, g->n, &g->capacity, sizeof(*g->chunks));
	if (r < 0)
		return r;
	new = &g->chunks[g->n++];
	*new = (struct chunk){.off = g->file_off + g->file_done,
			      .size = size,
			      .packed_off = c->packed_off,
			      .packed_end = g->file_packed_end,
			      .skip = c->skip};
	memcpy(new->sha256, digest->bytes, sizeof(new->sha256));
	return 0;
}

static int add_chunk(struct building *g, const struct toc_chunk *c)
{
	uint64_t left = g->file_size - g->file_done, size = c->size ? c->size : left;
	int r = 0;

	if (c->off != g->file_done || size > left || size == 0)
		return wrong(g, "has chunks that overlap, leave a gap or pass its end");
	if (!c->zeros)
		r = add_offset(g, c->packed_off);
	if (r == 0 && !c->zeros && !g->file_is_hidden)
		r = add_packed(g, c, size);
	g->file_done += size;
	return r;
}

/* Where the body of the next file lies. */
static int place(struct building *g, uint64_t size, uint64_t *ret)
{
	uint64_t off = g->next;

	if (off % PAGE && size > PAGE - off % PAGE)
		off += PAGE - off % PAGE;
	if (size > LIMIT_LAYER_FILE_SIZE - PAGE - off)
		return fail(EFBIG, "its files have more than %llu bytes", (unsigned long long)LIMIT_LAYER_FILE_SIZE);
	g->next = size >= PAGE ? (off + size + PAGE - 1) / PAGE * PAGE : (off + size + BLOCK - 1) / BLOCK * BLOCK;
	*ret = off;
	return 0;
}

static int begin_file(struct building *g, const struct toc_entry *e)
{
	int r = 0;

	strncpy(g->path, e->member.path, sizeof(g->path) - 1);
	g->file_size = e->member.size;
	g->file_done = 0;
	g->file_packed_end = e->packed_end;
	g->file_digest = e->digest;
	g->file_is_hidden = e->is_hidden;
	if (g->file_size && !e->is_hidden)
		r = place(g, g->file_size, &g->file_off);
	if (r == 0 && g->file_size)
		r = add_chunk(g, &e->chunk);
	return r;
}

static int take(struct building *g, struct toc_entry *e)
{
	int r;

	if (e->is_chunk)
		return add_chunk(g, &e->chunk);
	r = finish_file(g);
	if (r == 0)
		r = begin_file(g, e);
	if (r < 0 || e->is_hidden)
		return r;
	e->member.body_off = e->member.size ? g->file_off : 0;
	return layer_builder_add(g->builder, &e->member);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The first offset behind `off`, or the blob's end. */
static uint64_t next_offset(const struct building *g, uint64_t off)
{
	size_t low = 0, high = g->n_offsets;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (g->offsets[middle] <= off)
			low = middle + 1;
		else
			high = middle;
	}
	return low < g->n_offsets ? g->offsets[low] : g->blob_size;
}

/* The table's own offset is not vouched for, so the last chunk ends where no packer can have made more of it. */
static uint64_t packed_size(const struct building *g, const struct chunk *c)
{
	uint64_t end = next_offset(g, c->packed_off), most = c->skip + c->size;

	most += most / 8 + (64u << 10);
	if (c->packed_end > c->packed_off && c->packed_end < end)
		end = c->packed_end;
	if (most > LIMIT_SPAN_SIZE)
		most = LIMIT_SPAN_SIZE;
	return end - c->packed_off < most ? end - c->packed_off : most;
}

static int write_spans(const struct building *g, struct bytes *ret)
{
	_cleanup_(span_table_builder_free) struct span_table_builder spans = {.foreign = true};
	int r = 0;

	for (size_t i = 0; r == 0 && i < g->n; i++) {
		const struct chunk *c = &g->chunks[i];
		struct span s = {.off = c->off,
				 .size = c->size,
				 .kind = g->kind == TOC_ESTARGZ ? SPAN_GZIP_MEMBER : SPAN_ZSTD,
				 .packed_off = c->packed_off,
				 .packed_size = packed_size(g, c),
				 .skip = c->skip,
				 .digest.algorithm = DIGEST_SHA256};

		memcpy(s.digest.bytes, c->sha256, sizeof(c->sha256));
		r = span_table_add(&spans, &s);
	}
	return r < 0 ? r : span_table_finish(&spans, ret);
}

int toc_layer_build(enum toc_kind kind, const void *json, size_t size, uint64_t blob_size, struct layer_builder *b,
		    struct bytes *ret_spans, uint64_t *ret_bodies_size)
{
	_cleanup_(building_free) struct building g = {.kind = kind, .blob_size = blob_size, .builder = b};
	_cleanup_(toc_free) struct toc *t = NULL;
	int r = toc_open(json, size, &t);

	while (r == 0) {
		struct toc_entry e;

		r = toc_next(t, &e);
		if (r <= 0)
			break;
		r = take(&g, &e);
	}
	if (r == 0)
		r = finish_file(&g);
	if (r < 0)
		return r;
	if (g.n_offsets)
		qsort(g.offsets, g.n_offsets, sizeof(*g.offsets), by_value);
	r = write_spans(&g, ret_spans);
	if (r == 0)
		*ret_bodies_size = g.next;
	return r;
}
