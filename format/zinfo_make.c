/* zlib stops at each block's end (Z_BLOCK); the first one that is far enough from the last checkpoint becomes one. */
#include "format/zinfo_make.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"

#define WINDOW 32768u
#define HEAD 12u
#define AT_EDGE 128
#define LAST_BLOCK 64

struct zinfo_make {
	bool gzip, ended; /* a member: another one may follow */
	z_stream z;
	uint64_t in, out, checkpoint_out;
	uint8_t last; /* the packed byte before the next */
	uint8_t window[WINDOW];
	struct hash *span; /* of the packed bytes since the last checkpoint; before the first one nothing counts */
	struct zinfo made;
};

void zinfo_make_result_free(struct zinfo *z)
{
	bytes_free(&z->checkpoints);
	bytes_free(&z->digests);
	*z = (struct zinfo){0};
}

void zinfo_make_free(struct zinfo_make **m)
{
	if (!*m)
		return;
	if ((*m)->gzip)
		inflateEnd(&(*m)->z);
	hash_free(&(*m)->span);
	zinfo_make_result_free(&(*m)->made);
	free(*m);
	*m = NULL;
}

int zinfo_make_new(enum decoder_kind kind, struct zinfo_make **ret)
{
	static const uint8_t head[HEAD] = {0};
	_cleanup_(zinfo_make_free) struct zinfo_make *m = NULL;
	int r;

	if (kind == DECODER_ZSTD)
		return -EOPNOTSUPP;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	if (kind == DECODER_GZIP && inflateInit2(&m->z, 15 + 16) != Z_OK)
		return -ENOMEM;
	m->gzip = m->made.gzip = kind == DECODER_GZIP;
	r = hash_new(DIGEST_SHA256, &m->span);
	if (r == 0 && m->gzip)
		r = bytes_append(&m->made.checkpoints, head, sizeof(head)); /* filled in at the end */
	if (r < 0)
		return r;
	*ret = TAKE(m);
	return 0;
}

static int end_span(struct zinfo_make *m)
{
	struct digest digest;

	if (m->made.n_spans >= LIMIT_ZTOC_SPANS)
		return -EFBIG;
	hash_finish(m->span, &digest);
	m->made.n_spans++;
	return bytes_append(&m->made.digests, &digest, sizeof(digest));
}

static void put_number(uint8_t *to, uint64_t value, size_t width)
{
	for (size_t i = 0; i < width; i++)
		to[i] = (uint8_t)(value >> 8 * i);
}

/* The span before ends here; the byte that both have bits of belongs to both. */
static int add_checkpoint(struct zinfo_make *m, uint8_t bits)
{
	uint8_t head[17];
	int r = 0;

	if (m->made.checkpoints.size > LIMIT_LAZY_BLOB_SIZE)
		return -EFBIG;
	if (m->made.checkpoints.size > HEAD)
		r = end_span(m);
	else /* what was hashed is the gzip header */
		hash_finish(m->span, &(struct digest){0});
	if (bits)
		hash_update(m->span, &m->last, 1);
	put_number(head, m->in, 8);
	put_number(head + 8, m->out, 8);
	head[16] = bits;
	m->checkpoint_out = m->out;
	if (r == 0)
		r = bytes_append(&m->made.checkpoints, head, sizeof(head));
	return r < 0 ? r : bytes_append(&m->made.checkpoints, m->window, WINDOW);
}

static void keep_window(struct zinfo_make *m, const uint8_t *out, size_t n)
{
	if (n == 0)
		return;
	if (n >= WINDOW) {
		memcpy(m->window, out + n - WINDOW, WINDOW);
		return;
	}
	memmove(m->window, m->window + n, WINDOW - n);
	memcpy(m->window + WINDOW - n, out, n);
}

/* One step of inflate(), to the next edge at most. */
static int inflate_some(struct zinfo_make *m, const uint8_t *in, size_t *in_size, uint8_t *out, size_t *out_size)
{
	const uInt n_in = *in_size < 1u << 30 ? (uInt)*in_size : 1u << 30;
	const uInt n_out = *out_size < 1u << 30 ? (uInt)*out_size : 1u << 30;
	int r;

	if (m->ended && inflateReset(&m->z) != Z_OK)
		return -EBADMSG;
	m->z.next_in = (uint8_t *)(uintptr_t)in; /* never written to */
	m->z.avail_in = n_in;
	m->z.next_out = out;
	m->z.avail_out = n_out;
	r = inflate(&m->z, Z_BLOCK);
	*in_size = n_in - m->z.avail_in;
	*out_size = n_out - m->z.avail_out;
	if (*in_size)
		m->last = in[*in_size - 1];
	hash_update(m->span, in, *in_size);
	keep_window(m, out, *out_size);
	m->in += *in_size;
	m->out += *out_size;
	if (r == Z_MEM_ERROR)
		return -ENOMEM;
	if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
		return m->ended || (m->z.total_out == 0 && m->out > 0) ? -EOPNOTSUPP : -EBADMSG;
	m->ended = r == Z_STREAM_END;
	if (!m->ended && m->z.data_type & AT_EDGE && !(m->z.data_type & LAST_BLOCK) &&
	    (m->out == 0 || m->out - m->checkpoint_out > ZINFO_SPAN_SIZE))
		return add_checkpoint(m, m->z.data_type & 7);
	return 0;
}

/* Plain bytes: a span is a span. */
static int pass_some(struct zinfo_make *m, const uint8_t *in, size_t *in_size, uint8_t *out, size_t *out_size)
{
	const size_t left = ZINFO_SPAN_SIZE - (size_t)(m->in % ZINFO_SPAN_SIZE);
	size_t n = *in_size < *out_size ? *in_size : *out_size;

	if (n > left)
		n = left;
	memcpy(out, in, n);
	hash_update(m->span, in, n);
	m->in += n;
	m->out += n;
	*in_size = *out_size = n;
	return n == left ? end_span(m) : 0;
}

int zinfo_make_run(struct zinfo_make *m, const uint8_t *in, size_t in_size, size_t *ret_in, uint8_t *out, size_t out_size,
		   size_t *ret_out)
{
	size_t took = 0, made = 0;
	int r = 0;

	while (r == 0 && took < in_size && made < out_size) {
		size_t n = in_size - took, n_out = out_size - made;

		r = m->gzip ? inflate_some(m, in + took, &n, out + made, &n_out) :
			      pass_some(m, in + took, &n, out + made, &n_out);
		took += n;
		made += n_out;
	}
	*ret_in = took;
	*ret_out = made;
	return r;
}

int zinfo_make_finish(struct zinfo_make *m, struct zinfo *ret)
{
	int r = 0;

	if (m->gzip ? !m->ended : m->in == 0)
		return -EBADMSG;
	if (m->gzip || m->in % ZINFO_SPAN_SIZE)
		r = end_span(m);
	if (r < 0)
		return r;
	if (m->gzip) {
		put_number(m->made.checkpoints.data, m->made.n_spans, 4);
		put_number(m->made.checkpoints.data + 4, ZINFO_SPAN_SIZE, 8);
	}
	m->made.packed_size = m->in;
	*ret = m->made;
	m->made = (struct zinfo){0};
	return 0;
}
