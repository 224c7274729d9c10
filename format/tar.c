/* Walks a tar stream block by block: collects headers, skips bodies by arithmetic, tells members.
 */
#include "format/tar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "format/tar_header.h"
#include "format/tar_member.h"

#define BLOCK TAR_HEADER_SIZE

/* Old GNU sparse: where the maps lie in the header and in the blocks behind it. */
enum {
	GNU_ENTRIES = 386,
	GNU_N_ENTRIES = 4,
	GNU_EXTENDED = 482,
	GNU_REAL_SIZE = 483,
	GNU_MORE_N_ENTRIES = 21,
	GNU_MORE_EXTENDED = 504,
};

enum state {
	AT_HEADER,
	IN_EXTENSION, /* blocks of an old GNU sparse map */
	IN_META, /* the body of a pax header or a GNU long name */
	IN_MAP, /* a pax 1.0 sparse map, at the start of a body */
	IN_BODY, /* skipped */
	AT_END,
	FAILED,
};

struct tar {
	enum state state;
	uint64_t pos; /* bytes of the stream taken, without what follows the end mark */
	uint64_t own_off; /* where the headers of the next member start */
	uint64_t left; /* of the body, or of what is collected */
	uint32_t pad; /* behind the body, up to a block's edge */
	bool zero_seen; /* one of the two zero blocks at the end */
	bool told; /* the caller has `member`, which points into us */
	size_t block_size;
	uint8_t block[BLOCK]; /* a block that came in pieces */
	struct bytes meta;
	struct tar_header header;
	struct tar_extras extras;
	struct tar_member member;
	uint64_t map_start;
};

int tar_new(struct tar **ret)
{
	struct tar *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	*ret = t;
	return 0;
}

void tar_free(struct tar **t)
{
	if (!*t)
		return;
	bytes_free(&(*t)->meta);
	tar_extras_free(&(*t)->extras);
	free(*t);
	*t = NULL;
}

uint64_t tar_end_off(const struct tar *t)
{
	return t->pos;
}

const char *tar_type_name(enum tar_type type)
{
	switch (type) {
	case TAR_FILE:
		return "reg";
	case TAR_HARD_LINK:
		return "hardlink";
	case TAR_SYMLINK:
		return "symlink";
	case TAR_CHARACTER_DEVICE:
		return "char";
	case TAR_BLOCK_DEVICE:
		return "block";
	case TAR_DIRECTORY:
		return "dir";
	case TAR_FIFO:
		return "fifo";
	}
	return "reg";
}

static int map_fail(struct tar *t, int r)
{
	if (r == -ENOMEM)
		return r;
	if (r == -EFBIG)
		return fail(EFBIG, "member %.200s: over %u sparse fragments", t->member.path,
			    LIMIT_SPARSE_ENTRIES);
	return fail(EBADMSG, "member %.200s: its sparse map does not fit it", t->member.path);
}

static uint32_t padding(uint64_t size)
{
	return (uint32_t)(-size & (BLOCK - 1));
}

/* `left` and `pad` bytes are ahead, to be passed over. */
static void skip(struct tar *t)
{
	t->state = t->left || t->pad ? IN_BODY : AT_HEADER;
}

/* All of the member is known. `body_size` bytes of it lie at `body_off`. */
static int tell(struct tar *t, uint64_t body_off, uint64_t body_size)
{
	struct sparse_map *map = &t->extras.local.map;
	int r;

	t->member.header_off = t->own_off;
	t->member.body_off = body_off;
	if (t->member.sparse) {
		r = sparse_map_place(map, t->member.size, body_off, body_size);
		if (r < 0)
			return map_fail(t, r);
		t->member.fragments = map->fragments;
		t->member.n_fragments = map->n_fragments;
	}
	t->told = true;
	skip(t);
	return 1;
}

static int begin_gnu_sparse(struct tar *t, const uint8_t *block)
{
	int64_t size;
	int r;

	if (tar_header_number(block + GNU_REAL_SIZE, 12, &size) < 0 || size < 0)
		return map_fail(t, -EBADMSG);
	if ((uint64_t)size > LIMIT_LAYER_FILE_SIZE)
		return fail(EFBIG, "member %.200s: over %" PRIu64 " GiB", t->member.path,
			    LIMIT_LAYER_FILE_SIZE >> 30);
	t->member.size = (uint64_t)size;
	r = sparse_map_entries(&t->extras.local.map, block + GNU_ENTRIES, GNU_N_ENTRIES);
	if (r < 0)
		return map_fail(t, r);
	if (!block[GNU_EXTENDED])
		return tell(t, t->pos, t->left);
	t->state = IN_EXTENSION;
	return 0;
}

static int end_extension(struct tar *t, const uint8_t *block)
{
	int r = sparse_map_entries(&t->extras.local.map, block, GNU_MORE_N_ENTRIES);

	if (r < 0)
		return map_fail(t, r);
	return block[GNU_MORE_EXTENDED] ? 0 : tell(t, t->pos, t->left);
}

static int begin_member(struct tar *t, const uint8_t *block)
{
	enum tar_sparse sparse;
	int r;

	r = tar_member_fill(&t->header, &t->extras, &t->member, &t->left, &sparse);
	if (r < 0)
		return r;
	if (t->pos > LIMIT_LAYER_FILE_SIZE || t->left > LIMIT_LAYER_FILE_SIZE - t->pos)
		return fail(EFBIG, "member %.200s: with it the layer is over %" PRIu64 " GiB",
			    t->member.path, LIMIT_LAYER_FILE_SIZE >> 30);
	t->pad = padding(t->left);
	switch (sparse) {
	case TAR_SPARSE_NONE:
	case TAR_SPARSE_LISTED:
		return tell(t, t->pos, t->left);
	case TAR_SPARSE_GNU:
		t->extras.pending = true; /* the map is to be cleared behind this member */
		return begin_gnu_sparse(t, block);
	case TAR_SPARSE_IN_BODY:
		t->map_start = t->pos;
		t->state = IN_MAP;
		return t->left ? 0 : map_fail(t, -EBADMSG);
	}
	return -EINVAL;
}

static int keep_name(const struct bytes *meta, struct bytes *to)
{
	size_t size = strnlen((const char *)meta->data, meta->size);
	int r;

	to->size = 0;
	r = bytes_append(to, meta->data, size);
	return r < 0 ? r : bytes_terminate(to);
}

static int end_meta(struct tar *t)
{
	struct tar_extras *x = &t->extras;
	const char *name = t->header.path;

	skip(t);
	switch (t->header.type) {
	case 'g':
		return pax_add(&x->global, t->meta.data, t->meta.size, true, name);
	case 'x':
		x->pending = true;
		pax_clear(&x->local); /* of two in a row the last counts */
		return pax_add(&x->local, t->meta.data, t->meta.size, false, name);
	case 'L':
		x->pending = true;
		return keep_name(&t->meta, &x->long_path);
	default: /* 'K': begin_meta() is called for these four */
		x->pending = true;
		return keep_name(&t->meta, &x->long_link);
	}
}

static int begin_meta(struct tar *t)
{
	int r;

	if (t->header.size > LIMIT_PAX_SIZE)
		return fail(EFBIG,
			    "member %.200s: an extended header of %" PRIu64
			    " bytes, allowed are %u",
			    t->header.path, t->header.size, LIMIT_PAX_SIZE);
	t->left = t->header.size;
	t->pad = padding(t->left);
	t->meta.size = 0;
	r = bytes_reserve(&t->meta, t->left + 1); /* never NULL */
	if (r < 0)
		return r;
	t->state = IN_META;
	return t->left ? 0 : end_meta(t);
}

static int end_header(struct tar *t, const uint8_t *block)
{
	int r = tar_header_check(block);

	if (r < 0 && t->pos == BLOCK)
		return fail(EBADMSG, "the layer is not a tar archive");
	if (r < 0)
		return fail(EBADMSG,
			    "the tar header at byte %" PRIu64
			    " has a wrong checksum, behind member %.200s",
			    t->pos - BLOCK, t->header.path);
	if (r == 0) {
		if (t->zero_seen)
			t->state = AT_END;
		t->zero_seen = true;
		if (t->extras.pending)
			return fail(EBADMSG,
				    "the tar ends behind an extended header, at byte %" PRIu64,
				    t->pos);
		return 0;
	}
	if (t->zero_seen)
		return fail(EBADMSG, "the tar goes on behind a block of zeros, at byte %" PRIu64,
			    t->pos - BLOCK);
	r = tar_header_read(block, &t->header);
	if (r < 0)
		return r;
	if (!t->extras.pending)
		t->own_off = t->pos - BLOCK;
	switch (t->header.type) {
	case 'x':
	case 'g':
	case 'L':
	case 'K':
		return begin_meta(t);
	case 'V': /* GNU: the volume's label; nothing to extract */
		tar_extras_clear(&t->extras);
		t->left = t->header.size;
		t->pad = padding(t->left);
		skip(t);
		return 0;
	default:
		return begin_member(t, block);
	}
}

/* A whole block: of the caller's bytes if it is there at once, else collected. */
static int take_block(struct tar *t, const uint8_t *data, size_t size, size_t *ret_n)
{
	const uint8_t *block = data;
	size_t n = BLOCK - t->block_size < size ? BLOCK - t->block_size : size;

	if (n < BLOCK) {
		memcpy(t->block + t->block_size, data, n);
		block = t->block;
	}
	t->block_size += n;
	t->pos += n;
	*ret_n = n;
	if (t->block_size < BLOCK)
		return 0;
	t->block_size = 0;
	return t->state == AT_HEADER ? end_header(t, block) : end_extension(t, block);
}

static int take_meta(struct tar *t, const uint8_t *data, size_t size, size_t *ret_n)
{
	size_t n = t->left < size ? (size_t)t->left : size;
	int r;

	r = bytes_append(&t->meta, data, n);
	if (r < 0)
		return r;
	t->left -= n;
	t->pos += n;
	*ret_n = n;
	return t->left ? 0 : end_meta(t);
}

static int take_map(struct tar *t, const uint8_t *data, size_t size, size_t *ret_n)
{
	size_t n = t->left < size ? (size_t)t->left : size;
	uint32_t gap;
	int r;

	t->extras.pending = true;
	r = sparse_map_lines(&t->extras.local.map, data, n, ret_n);
	if (r < 0)
		return map_fail(t, r);
	t->pos += *ret_n;
	t->left -= *ret_n;
	if (!r)
		return t->left ? 0 : map_fail(t, -EBADMSG);
	/* The file's bytes begin at the next block. */
	gap = padding(t->pos - t->map_start);
	if (gap > t->left)
		return map_fail(t, -EBADMSG);
	return tell(t, t->pos + gap, t->left - gap);
}

static size_t take_body(struct tar *t, size_t size)
{
	uint64_t ahead = t->left + t->pad;
	size_t n = ahead < size ? (size_t)ahead : size;

	if (n < t->left) {
		t->left -= n;
	} else {
		t->pad -= (uint32_t)(n - t->left);
		t->left = 0;
	}
	t->pos += n;
	skip(t);
	return n;
}

static int step(struct tar *t, const uint8_t *data, size_t size, size_t *ret_n)
{
	switch (t->state) {
	case AT_HEADER:
	case IN_EXTENSION:
		return take_block(t, data, size, ret_n);
	case IN_META:
		return take_meta(t, data, size, ret_n);
	case IN_MAP:
		return take_map(t, data, size, ret_n);
	case IN_BODY:
		*ret_n = take_body(t, size);
		return 0;
	case AT_END:
		*ret_n = size;
		return 0;
	case FAILED:
		break;
	}
	return -EBADMSG;
}

int tar_next(struct tar *t, const void *data, size_t size, size_t *ret_used, struct tar_member *ret)
{
	size_t used = 0, n;
	int r = 0;

	if (t->told) {
		tar_extras_clear(&t->extras);
		t->told = false;
	}
	while (r == 0 && used < size) {
		r = step(t, (const uint8_t *)data + used, size - used, &n);
		if (r < 0) {
			t->state = FAILED;
			return r;
		}
		used += n;
	}
	*ret_used = used;
	if (r)
		*ret = t->member;
	return r;
}

int tar_finish(struct tar *t)
{
	bool waiting = t->extras.pending && !t->told;

	switch (t->state) {
	case AT_END:
		return 0;
	case AT_HEADER:
		if (!t->block_size && !waiting)
			return 0;
		break;
	case IN_BODY:
		if (!t->left && !waiting)
			return 0; /* padding that nobody misses */
		break;
	case FAILED:
		return -EBADMSG; /* reported when it happened */
	case IN_EXTENSION:
	case IN_META:
	case IN_MAP:
		break;
	}
	return fail(EBADMSG,
		    "the tar stops in the middle of a member, at byte %" PRIu64
		    ", last seen was %.200s",
		    t->pos, t->header.path);
}
