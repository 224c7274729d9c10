/* Decodes a layer's packed bytes straight into the caller's buffer: stored, gzip by ISA-L, zstd. */
#include "format/decoder.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <isa-l/igzip_lib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "format/gzip_header.h"

#define ZSTD_MAGIC_BYTES 4u

enum place {
	BEFORE_UNIT, /* where a gzip member or zstd frame may begin; the stream may end here, if not
			empty */
	IN_HEAD, /* gzip: in a member's header; zstd: fewer than four bytes of the next frame are
		    there */
	IN_UNIT,
	IN_ZEROS, /* gzip: padding behind the last member, as gzip(1) ignores it */
	FAILED,
};

struct decoder {
	enum decoder_kind kind;
	enum place place;
	uint64_t n_units;
	uint64_t packed; /* taken so far, for messages */
	struct inflate_state *gzip;
	struct gzip_header gzip_header;
	ZSTD_DCtx *zstd;
	uint8_t magic[ZSTD_MAGIC_BYTES];
	size_t magic_size;
	bool zstd_held; /* zstd may hold plain bytes that did not fit */
};

static uint32_t magic_of(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool is_zstd_magic(const uint8_t *p)
{
	return magic_of(p) == ZSTD_MAGICNUMBER ||
	       (magic_of(p) & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

enum decoder_kind decoder_sniff(const void *data, size_t size)
{
	const uint8_t *p = data;

	if (size < 4)
		return DECODER_STORED;
	if (p[0] == 0x1f && p[1] == 0x8b && p[2] == 8)
		return DECODER_GZIP;
	return is_zstd_magic(p) ? DECODER_ZSTD : DECODER_STORED;
}

void decoder_free(struct decoder **d)
{
	if (!*d)
		return;
	ZSTD_freeDCtx((*d)->zstd);
	free((*d)->gzip);
	free(*d);
	*d = NULL;
}

bool decoder_is_bomb(uint64_t packed, uint64_t plain)
{
	return plain > LIMIT_EXPANSION_FREE && (plain - 1) / LIMIT_EXPANSION >= packed; /* plain > packed * LIMIT_EXPANSION */
}

int decoder_new(enum decoder_kind kind, struct decoder **ret)
{
	_cleanup_(decoder_free) struct decoder *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->kind = kind;
	if (kind == DECODER_GZIP) {
		/* The Huffman tables are filled before use; zeroing them once costs nothing. */
		d->gzip = calloc(1, sizeof(*d->gzip));
		if (!d->gzip)
			return -ENOMEM;
	}
	if (kind == DECODER_ZSTD) {
		d->zstd = ZSTD_createDCtx();
		if (!d->zstd)
			return -ENOMEM;
		/* Cannot fail: 27 is zstd's own default limit. */
		ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, LIMIT_ZSTD_WINDOW_LOG);
	}
	*ret = TAKE(d);
	return 0;
}

static int gzip_fail(struct decoder *d, const char *what)
{
	d->place = FAILED;
	return fail(EBADMSG, "gzip: %s near packed byte %" PRIu64, what, d->packed);
}

/* Zeros behind the last member, and nothing else. */
static int gzip_zeros(struct decoder *d, const uint8_t *in, size_t in_size, size_t *ret_in)
{
	size_t n = 0;

	d->place = IN_ZEROS;
	while (n < in_size && !in[n])
		n++;
	d->packed += n;
	if (n < in_size)
		return gzip_fail(d, "garbage behind the last member");
	*ret_in = n;
	return 0;
}

static int gzip_head(struct decoder *d, const uint8_t *in, size_t in_size, size_t *ret_in)
{
	size_t n;
	int r;

	if (d->place == BEFORE_UNIT)
		d->gzip_header = (struct gzip_header){0};
	d->place = IN_HEAD;
	r = gzip_header_take(&d->gzip_header, in, in_size, &n);
	if (r < 0)
		return gzip_fail(d, "wrong header of a member");
	d->packed += n;
	*ret_in = n;
	if (r) {
		if (d->n_units)
			isal_inflate_reset(d->gzip);
		else
			isal_inflate_init(d->gzip);
		d->gzip->crc_flag = ISAL_GZIP_NO_HDR_VER;
		d->place = IN_UNIT;
	}
	return 0;
}

static int gzip_run(struct decoder *d, const uint8_t *in, size_t in_size, size_t *ret_in,
		    uint8_t *out, size_t out_size, size_t *ret_out)
{
	struct inflate_state *s = d->gzip;
	int r;

	if (d->place != IN_UNIT) {
		if (!in_size)
			return 0;
		if (d->place == IN_ZEROS || (d->place == BEFORE_UNIT && d->n_units && !in[0]))
			return gzip_zeros(d, in, in_size, ret_in);
		return gzip_head(d, in, in_size, ret_in);
	}
	/* ISA-L counts in 32 bits and keeps no pointer across calls. It never writes to its input.
	 */
	s->next_in = (uint8_t *)in;
	s->avail_in = (uint32_t)(in_size < 1u << 30 ? in_size : 1u << 30);
	s->next_out = out;
	s->avail_out = (uint32_t)(out_size < 1u << 30 ? out_size : 1u << 30);
	r = isal_inflate(s);
	*ret_in = (size_t)(s->next_in - in);
	*ret_out = (size_t)(s->next_out - out);
	d->packed += *ret_in;
	if (r < 0)
		return gzip_fail(d, r == ISAL_INCORRECT_CHECKSUM
					    ? "wrong checksum or size of a member"
					    : "corrupt data");
	if (s->block_state == ISAL_BLOCK_FINISH) {
		d->place = BEFORE_UNIT;
		d->n_units++;
	}
	return 0;
}

static int zstd_fail(struct decoder *d, size_t code)
{
	const char *text = ZSTD_getErrorName(code);

	d->place = FAILED;
	switch (ZSTD_getErrorCode(code)) {
	case ZSTD_error_frameParameter_windowTooLarge:
		return fail(EFBIG,
			    "zstd: a frame needs a window over %u MiB, near packed byte %" PRIu64,
			    1u << (LIMIT_ZSTD_WINDOW_LOG - 20), d->packed);
	case ZSTD_error_memory_allocation:
		return -ENOMEM;
	case ZSTD_error_dictionary_wrong:
		return fail(EOPNOTSUPP,
			    "zstd: a frame needs a dictionary, near packed byte %" PRIu64,
			    d->packed);
	default:
		return fail(EBADMSG, "zstd: %s near packed byte %" PRIu64, text, d->packed);
	}
}

/* zstd's library also decodes frames of its versions before 1.0, which RFC 8878 does not know: so
 * the magic is looked at here, before the library sees the frame. */
static int zstd_magic(struct decoder *d, const uint8_t *in, size_t in_size, size_t *ret_in)
{
	ZSTD_outBuffer nothing = {NULL, 0, 0};
	ZSTD_inBuffer magic = {d->magic, ZSTD_MAGIC_BYTES, 0};
	size_t r;

	if (!d->magic_size && in_size >= ZSTD_MAGIC_BYTES && is_zstd_magic(in)) {
		d->place = IN_UNIT;
		return 0; /* left for the library, which may decode a whole frame in one step */
	}
	while (d->magic_size < ZSTD_MAGIC_BYTES && *ret_in < in_size)
		d->magic[d->magic_size++] = in[(*ret_in)++];
	d->packed += *ret_in;
	if (d->magic_size)
		d->place = IN_HEAD;
	if (d->magic_size < ZSTD_MAGIC_BYTES)
		return 0;
	if (!is_zstd_magic(d->magic)) {
		d->place = FAILED;
		return fail(EBADMSG, "zstd: wrong magic of a frame near packed byte %" PRIu64,
			    d->packed);
	}
	d->magic_size = 0;
	d->place = IN_UNIT;
	r = ZSTD_decompressStream(d->zstd, &nothing, &magic);
	return ZSTD_isError(r) ? zstd_fail(d, r) : 0;
}

static int zstd_run(struct decoder *d, const uint8_t *in, size_t in_size, size_t *ret_in,
		    uint8_t *out, size_t out_size, size_t *ret_out)
{
	ZSTD_inBuffer from = {in, in_size, 0};
	ZSTD_outBuffer to = {out, out_size, 0};
	size_t r, taken = 0;
	int e;

	if (d->place != IN_UNIT) {
		e = zstd_magic(d, in, in_size, &taken);
		if (e < 0)
			return e;
		from.pos = taken;
		*ret_in = taken;
		if (d->place != IN_UNIT)
			return 0;
	}
	/* Called without anything to do, zstd counts that as an error after a while. */
	if (from.pos == from.size && !d->zstd_held)
		return 0;
	r = ZSTD_decompressStream(d->zstd, &to, &from);
	d->packed += from.pos - taken;
	if (ZSTD_isError(r))
		return zstd_fail(d, r);
	d->zstd_held = r != 0 && to.pos == to.size;
	if (r == 0) {
		d->place = BEFORE_UNIT;
		d->n_units++;
	}
	*ret_in = from.pos;
	*ret_out = to.pos;
	return 0;
}

/* One step; the caller of this repeats it while it makes progress. */
static int step(struct decoder *d, const uint8_t *in, size_t in_size, size_t *ret_in, uint8_t *out,
		size_t out_size, size_t *ret_out)
{
	size_t n;

	switch (d->kind) {
	case DECODER_GZIP:
		return gzip_run(d, in, in_size, ret_in, out, out_size, ret_out);
	case DECODER_ZSTD:
		return zstd_run(d, in, in_size, ret_in, out, out_size, ret_out);
	case DECODER_STORED:
		n = in_size < out_size ? in_size : out_size;
		if (n)
			memcpy(out, in, n);
		*ret_in = *ret_out = n;
		return 0;
	}
	return -EINVAL;
}

int decoder_run(struct decoder *d, const void *in, size_t in_size, size_t *ret_in, void *out,
		size_t out_size, size_t *ret_out)
{
	size_t in_pos = 0, out_pos = 0;

	/* A member or frame may end, or be empty, inside one piece: go on until a side is used up.
	 */
	while (d->place != FAILED && out_pos < out_size) {
		size_t n_in = 0, n_out = 0;
		int r;

		r = step(d, in ? (const uint8_t *)in + in_pos : NULL, in_size - in_pos, &n_in,
			 (uint8_t *)out + out_pos, out_size - out_pos, &n_out);
		if (r < 0)
			return r;
		in_pos += n_in;
		out_pos += n_out;
		if (in_pos == in_size || (!n_in && !n_out))
			break; /* what is held back came before this piece's end, or `out` is full
				*/
	}
	*ret_in = in_pos;
	*ret_out = out_pos;
	return d->place == FAILED ? -EBADMSG : 0;
}

int decoder_finish(struct decoder *d)
{
	const char *name = d->kind == DECODER_GZIP ? "gzip" : "zstd";

	if (d->kind == DECODER_STORED)
		return 0;
	if (d->place == FAILED)
		return -EBADMSG; /* reported when it happened */
	if (d->place == IN_UNIT || d->place == IN_HEAD)
		return fail(EBADMSG,
			    "%s: the stream stops in the middle of a %s, at packed byte %" PRIu64,
			    name, d->kind == DECODER_GZIP ? "member" : "frame", d->packed);
	if (!d->n_units)
		return fail(EBADMSG, "%s: the stream is empty", name);
	return 0;
}
