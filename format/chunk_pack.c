/* What lies between bodies is collected, bodies are cut as they pass; each piece is packed from memory. */
#include "format/chunk_pack.h"

#include <assert.h>
#include <errno.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_object.h>
#include <zlib.h>
#include <zstd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"
#include "format/toc_write.h"

#define CHUNK (256u << 10)
#define BETWEEN_MAX (1u << 20)
#define BLOCK 512u
#define GZIP_LEVEL 6
#define ZSTD_LEVEL 6

struct chunk_pack {
	enum toc_kind kind;
	bool with_table;
	int fd;
	z_stream gzip;
	bool gzip_begun;
	ZSTD_CCtx *zstd;
	struct hash *packed_hash, *plain_hash, *file_hash;
	uint64_t packed_off;  /* bytes of the blob so far */
	uint64_t plain_size;  /* of what was taken into `between` or chunks, held back zeros not counted */
	uint64_t zeros;	      /* held back: at the tar's end they are its end mark */
	struct bytes between; /* plain */
	struct bytes segment; /* the same for tar-split, which is cut at members only */
	struct bytes packed;  /* of the piece at hand */
	struct toc_write table;

	/* The body at hand: */
	struct json_object *entry; /* NULL: nobody is told of it */
	struct bytes later;	   /* entries of its further chunks, with commas before them */
	struct bytes chunk;
	char *path;
	uint64_t body_size, body_done, crc64;
};

static void end_body(struct chunk_pack *p)
{
	json_field_free(&p->entry);
	free(p->path);
	p->path = NULL;
	p->body_size = p->body_done = p->crc64 = 0;
	p->later.size = 0;
}

void chunk_pack_free(struct chunk_pack **pack)
{
	struct chunk_pack *p = *pack;

	*pack = NULL;
	if (!p)
		return;
	end_body(p);
	if (p->gzip_begun)
		deflateEnd(&p->gzip);
	ZSTD_freeCCtx(p->zstd);
	hash_free(&p->packed_hash);
	hash_free(&p->plain_hash);
	hash_free(&p->file_hash);
	bytes_free(&p->between);
	bytes_free(&p->segment);
	bytes_free(&p->packed);
	bytes_free(&p->later);
	bytes_free(&p->chunk);
	toc_write_free(&p->table);
	free(p);
}

int chunk_pack_new(enum toc_kind kind, bool with_table, int fd, struct chunk_pack **ret)
{
	_cleanup_(chunk_pack_free) struct chunk_pack *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->kind = kind;
	p->with_table = with_table;
	p->fd = fd;
	if (kind == TOC_ESTARGZ)
		p->gzip_begun = deflateInit2(&p->gzip, GZIP_LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK;
	else
		p->zstd = ZSTD_createCCtx();
	if (!p->gzip_begun && !p->zstd)
		return -ENOMEM;
	r = hash_new(DIGEST_SHA256, &p->packed_hash);
	if (r == 0)
		r = hash_new(DIGEST_SHA256, &p->plain_hash);
	if (r == 0)
		r = hash_new(DIGEST_SHA256, &p->file_hash);
	if (r == 0)
		*ret = TAKE(p);
	return r;
}

static int put(struct chunk_pack *p, const void *data, size_t size)
{
	int r = fd_write_full(p->fd, data, size);

	if (r < 0)
		return fail(-r, "the packed layer cannot be written: %s", strerror(-r));
	hash_update(p->packed_hash, data, size);
	p->packed_off += size;
	return 0;
}

static int pack_gzip(struct chunk_pack *p, const void *data, size_t size)
{
	int r = bytes_reserve(&p->packed, deflateBound(&p->gzip, size));

	if (r < 0)
		return r;
	deflateReset(&p->gzip);
	p->gzip.next_in = (Bytef *)(uintptr_t)data; /* never written to */
	p->gzip.avail_in = (uInt)size;
	p->gzip.next_out = p->packed.data;
	p->gzip.avail_out = (uInt)p->packed.capacity;
	if (deflate(&p->gzip, Z_FINISH) != Z_STREAM_END)
		return -EIO;
	p->packed.size = p->gzip.total_out;
	return 0;
}

/* One gzip member or zstd frame into p->packed. */
static int pack(struct chunk_pack *p, const void *data, size_t size)
{
	size_t n;
	int r;

	p->packed.size = 0;
	if (p->kind == TOC_ESTARGZ)
		return pack_gzip(p, data, size);
	r = bytes_reserve(&p->packed, ZSTD_compressBound(size));
	if (r < 0)
		return r;
	n = ZSTD_compressCCtx(p->zstd, p->packed.data, p->packed.capacity, data, size, ZSTD_LEVEL);
	if (ZSTD_isError(n))
		return -ENOMEM;
	p->packed.size = n;
	return 0;
}

/* Plain bytes of the tar as a piece of their own. */
static int put_piece(struct chunk_pack *p, const void *data, size_t size)
{
	int r = pack(p, data, size);

	if (r < 0)
		return r;
	hash_update(p->plain_hash, data, size);
	return put(p, p->packed.data, p->packed.size);
}

static int flush_between(struct chunk_pack *p)
{
	int r = p->between.size ? put_piece(p, p->between.data, p->between.size) : 0;

	p->between.size = 0;
	return r;
}

static bool wants_split(const struct chunk_pack *p)
{
	return p->with_table && p->kind == TOC_ZSTD_CHUNKED;
}

static int add_between(struct chunk_pack *p, const uint8_t *data, size_t size)
{
	int r = bytes_append(&p->between, data, size);

	if (r == 0 && wants_split(p))
		r = bytes_append(&p->segment, data, size);
	p->plain_size += size;
	if (r == 0 && p->between.size >= BETWEEN_MAX)
		r = flush_between(p);
	return r;
}

static int add_zeros(struct chunk_pack *p, uint64_t n)
{
	static const uint8_t zeros[4096];
	int r = 0;

	for (; r == 0 && n > 0;) {
		size_t some = n < sizeof(zeros) ? (size_t)n : sizeof(zeros);

		r = add_between(p, zeros, some);
		n -= some;
		p->zeros -= some;
	}
	return r;
}

/* Headers, and what pads bodies. Zeros wait for what follows them. */
static int take_between(struct chunk_pack *p, const uint8_t *data, size_t size)
{
	size_t end = size;
	int r;

	while (end > 0 && data[end - 1] == 0)
		end--;
	if (end == 0) {
		p->zeros += size;
		return 0;
	}
	r = add_zeros(p, p->zeros);
	if (r == 0)
		r = add_between(p, data, end);
	p->zeros = size - end;
	return r;
}

/* The chunk's fields go into the file's entry, or into one more. */
static int tell_chunk(struct chunk_pack *p, const struct toc_chunk *c, bool only)
{
	_cleanup_(json_field_free) struct json_object *more = NULL;
	int r;

	if (c->off == 0) /* zstd:chunked has no chunk fields in a file of one chunk */
		return only && p->kind == TOC_ZSTD_CHUNKED ? toc_write_number(p->entry, "offset", c->packed_off) :
							     toc_write_chunk(p->entry, c);
	more = json_object_new_object();
	r = more ? json_object_object_add(more, "type", json_object_new_string("chunk")) : -ENOMEM;
	if (r == 0)
		r = json_object_object_add(more, "name", json_object_new_string(p->path));
	if (r == 0)
		r = toc_write_chunk(more, c);
	return r < 0 ? -ENOMEM : bytes_printf(&p->later, ",%s", json_object_to_json_string_ext(more, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static int put_chunk(struct chunk_pack *p)
{
	struct toc_chunk c = {.off = p->body_done - p->chunk.size, .size = p->chunk.size, .packed_off = p->packed_off};
	int r = 0;

	if (p->entry) {
		hash_bytes(p->chunk.data, p->chunk.size, &c.digest);
		r = tell_chunk(p, &c, p->body_size == p->chunk.size);
	}
	if (r == 0)
		r = put_piece(p, p->chunk.data, p->chunk.size);
	p->chunk.size = 0;
	return r;
}

static int finish_file(struct chunk_pack *p)
{
	struct digest digest;
	int r = 0;

	hash_finish(p->file_hash, &digest);
	if (wants_split(p))
		r = toc_write_file(&p->table, p->path, p->body_size, p->crc64);
	if (r == 0 && p->entry) {
		r = toc_write_digest(p->entry, "digest", &digest);
		if (r == 0 && p->kind == TOC_ZSTD_CHUNKED)
			r = toc_write_number(p->entry, "endOffset", p->packed_off);
		if (r == 0)
			r = toc_write_entry(&p->table, p->entry);
		if (r == 0 && p->later.size)
			r = bytes_append(&p->table.toc, p->later.data, p->later.size);
	}
	end_body(p);
	return r;
}

static int take_body(struct chunk_pack *p, const uint8_t *data, size_t size)
{
	int r = bytes_append(&p->chunk, data, size);

	hash_update(p->file_hash, data, size);
	if (wants_split(p))
		p->crc64 = toc_write_crc64(p->crc64, data, size);
	p->body_done += size;
	p->plain_size += size;
	if (r == 0 && (p->chunk.size == CHUNK || p->body_done == p->body_size))
		r = put_chunk(p);
	return r < 0 || p->body_done < p->body_size ? r : finish_file(p);
}

/* The formats' own names would be taken for theirs. */
static bool is_theirs(const char *path)
{
	while (*path == '/' || (path[0] == '.' && path[1] == '/'))
		path++;
	return strcmp(path, "stargz.index.json") == 0 || strcmp(path, ".prefetch.landmark") == 0 ||
	       strcmp(path, ".no.prefetch.landmark") == 0;
}

static int begin_split(struct chunk_pack *p, const struct tar_member *m, bool has_body)
{
	int r = toc_write_segment(&p->table, p->segment.data, p->segment.size);

	p->segment.size = 0;
	return r < 0 || has_body ? r : toc_write_file(&p->table, m->path, 0, 0);
}

int chunk_pack_member(struct chunk_pack *p, const struct tar_member *m)
{
	const bool has_body = m->type == TAR_FILE && m->size > 0;
	_cleanup_(json_field_free) struct json_object *entry = NULL;
	int r = 0;

	assert(p->body_done == p->body_size);
	if (p->with_table && m->sparse)
		return -EOPNOTSUPP;
	if (m->sparse)
		return 0;
	r = add_zeros(p, p->zeros); /* the end of its header */
	if (r == 0 && wants_split(p))
		r = begin_split(p, m, has_body);
	if (r == 0 && p->with_table && !is_theirs(m->path))
		r = toc_write_begin(m, &entry);
	if (r == 0 && !has_body)
		return entry ? toc_write_entry(&p->table, entry) : 0;
	if (r == 0)
		r = flush_between(p);
	if (r < 0)
		return r;
	p->path = strdup(m->path);
	if (!p->path)
		return -ENOMEM;
	p->entry = TAKE(entry);
	p->body_size = m->size;
	return 0;
}

int chunk_pack_feed(struct chunk_pack *p, const uint8_t *data, size_t size)
{
	int r = 0;

	while (r == 0 && size > 0) {
		uint64_t left = p->body_size - p->body_done;
		size_t n = size;

		if (left) {
			n = left < n ? (size_t)left : n;
			n = n < CHUNK - p->chunk.size ? n : CHUNK - p->chunk.size;
			r = take_body(p, data, n);
		} else {
			r = take_between(p, data, n);
		}
		data += n;
		size -= n;
	}
	return r;
}

/* A plain ustar header for the table. */
static void fill_header(uint8_t *h, uint64_t size)
{
	unsigned int sum = 0;

	memset(h, 0, BLOCK);
	strcpy((char *)h, "stargz.index.json");
	strcpy((char *)h + 100, "0000444");
	strcpy((char *)h + 108, "0000000");
	strcpy((char *)h + 116, "0000000");
	snprintf((char *)h + 124, 12, "%011llo", (unsigned long long)size);
	strcpy((char *)h + 136, "00000000000");
	memset(h + 148, ' ', 8);
	h[156] = '0';
	memcpy(h + 257, "ustar\00000", 8);
	for (unsigned int i = 0; i < BLOCK; i++)
		sum += h[i];
	snprintf((char *)h + 148, 8, "%06o", sum & 0777777);
	h[155] = ' ';
}

static int finish_estargz(struct chunk_pack *p, const struct bytes *toc, struct chunk_packed *ret)
{
	static const uint8_t end[3 * BLOCK];
	_cleanup_(bytes_free) struct bytes tar = {0};
	uint8_t header[BLOCK];
	char footer[64];
	int r;

	fill_header(header, toc->size);
	r = bytes_append(&tar, header, sizeof(header));
	if (r == 0)
		r = bytes_append(&tar, toc->data, toc->size);
	if (r == 0)
		r = bytes_append(&tar, end, 2 * BLOCK + (BLOCK - toc->size % BLOCK) % BLOCK);
	ret->toc_off = p->packed_off;
	if (r == 0)
		r = put_piece(p, tar.data, tar.size);
	ret->toc_packed_size = p->packed_off - ret->toc_off;
	memcpy(footer, "\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0", 16);
	snprintf(footer + 16, sizeof(footer) - 16, "%016llxSTARGZ", (unsigned long long)ret->toc_off);
	memcpy(footer + 38, "\x01\0\0\xff\xff\0\0\0\0\0\0\0\0", 13);
	return r < 0 ? r : put(p, footer, 51);
}

static int put_skippable(struct chunk_pack *p, const void *data, size_t size)
{
	const uint32_t head[2] = {htole32(0x184d2a50), htole32((uint32_t)size)};
	int r = put(p, head, sizeof(head));

	return r < 0 ? r : put(p, data, size);
}

/* The packed tar-split is needed first: its digest stands in the table. */
static int finish_zstd(struct chunk_pack *p, struct bytes *toc, struct chunk_packed *ret)
{
	_cleanup_(bytes_free) struct bytes split = {0};
	uint64_t footer[8] = {0};
	struct digest digest;
	int r = p->segment.size ? toc_write_segment(&p->table, p->segment.data, p->segment.size) : 0;

	if (r == 0)
		r = pack(p, p->table.split.data, p->table.split.size);
	if (r == 0)
		r = bytes_append(&split, p->packed.data, p->packed.size);
	if (r < 0)
		return r;
	hash_bytes(split.data, split.size, &digest);
	r = toc_write_finish(&p->table, &digest, toc);
	if (r == 0)
		r = pack(p, toc->data, toc->size);
	if (r < 0)
		return r;
	hash_bytes(p->packed.data, p->packed.size, &ret->toc_packed);
	ret->toc_off = p->packed_off + 8;
	ret->toc_packed_size = p->packed.size;
	r = put_skippable(p, p->packed.data, p->packed.size);
	ret->split_off = p->packed_off + 8;
	ret->split_packed_size = split.size;
	ret->split_plain_size = p->table.split.size;
	if (r == 0)
		r = put_skippable(p, split.data, split.size);
	footer[0] = htole64(ret->toc_off);
	footer[1] = htole64(ret->toc_packed_size);
	footer[2] = htole64(toc->size);
	footer[3] = htole64(1);
	footer[4] = htole64(ret->split_off);
	footer[5] = htole64(ret->split_packed_size);
	footer[6] = htole64(ret->split_plain_size);
	memcpy(&footer[7], "GNUlInUx", 8);
	return r < 0 ? r : put_skippable(p, footer, sizeof(footer));
}

int chunk_pack_finish(struct chunk_pack *p, struct chunk_packed *ret)
{
	struct chunk_packed made = {0};
	_cleanup_(bytes_free) struct bytes toc = {0};
	bool ends_itself = p->with_table && p->kind == TOC_ESTARGZ; /* the table comes before the tar's end mark */
	int r;

	if (p->body_done != p->body_size)
		return fail(EBADMSG, "the layer's tar ends inside a file");
	r = add_zeros(p, ends_itself ? (BLOCK - p->plain_size % BLOCK) % BLOCK : p->zeros);
	if (r == 0)
		r = flush_between(p);
	if (r == 0 && ends_itself) {
		r = toc_write_finish(&p->table, NULL, &toc);
		if (r == 0)
			r = finish_estargz(p, &toc, &made);
	} else if (r == 0 && p->with_table) {
		r = finish_zstd(p, &toc, &made);
	}
	if (r < 0)
		return r;
	if (p->with_table) {
		hash_bytes(toc.data, toc.size, &made.toc_plain);
		made.toc_plain_size = toc.size;
	}
	hash_finish(p->packed_hash, &made.digest);
	hash_finish(p->plain_hash, &made.diff_id);
	made.size = p->packed_off;
	*ret = made;
	return 0;
}
