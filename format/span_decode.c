/* From a checkpoint ISA-L goes to the end of its gzip member; all that begins with a header is decoder's. */
#include "format/span_decode.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <isa-l/igzip_lib.h>
#include <zstd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "format/decoder.h"

#define SPAN_PAGE 4096u
#define GZIP_TRAILER 8u

/* Where decoded bytes go: first those that are to be dropped, then the span's own. */
struct sink {
	uint8_t *plain;
	size_t size, made;
	uint64_t skip;
	bool exact; /* a digest of packed bytes says nothing of how many plain ones they are: no more than that */
	bool over;
	uint8_t dropped[16384];
};

static size_t sink_room(struct sink *s, uint8_t **ret)
{
	if (s->skip) {
		*ret = s->dropped;
		return s->skip < sizeof(s->dropped) ? (size_t)s->skip : sizeof(s->dropped);
	}
	if (s->made == s->size && s->exact && !s->over) {
		*ret = s->dropped;
		return 1;
	}
	*ret = s->plain + s->made;
	return s->size - s->made;
}

static void sink_take(struct sink *s, size_t n)
{
	if (s->skip)
		s->skip -= n;
	else if (s->made == s->size)
		s->over = s->over || n > 0;
	else
		s->made += n;
}

/* The window's used bytes, in order, go to where they are used. Each has its place, and each place its byte. */
static int scatter(const struct span *span, const uint8_t *packed, size_t n, uint8_t bytes[static SPAN_WINDOW_MAX])
{
	uint8_t used[SPAN_WINDOW_MAX] = {0}, whole[SPAN_WINDOW_MAX] = {0};
	size_t next = 0;
	int r = span_decode_used(span, packed, used);

	if (r < 0)
		return r;
	for (size_t i = 0; i < SPAN_WINDOW_MAX; i++) {
		if (!used[i])
			continue;
		if (next == n)
			return -EBADMSG;
		whole[i] = bytes[next++];
	}
	memcpy(bytes, whole, sizeof(whole));
	return next == n ? 0 : -EBADMSG;
}

static int set_window(struct inflate_state *state, const struct span *span, const uint8_t *packed, const uint8_t *packed_window,
		      const struct span_before *before)
{
	uint8_t bytes[SPAN_WINDOW_MAX];
	size_t n;

	if (span->window_size == 0 && span->window_is != SPAN_WINDOW_BEFORE)
		return 0;
	if (!before && span->window_is == SPAN_WINDOW_BEFORE)
		return -EBADMSG;
	if (before) {
		n = before->size;
		memcpy(bytes, before->bytes, n);
	} else {
		n = ZSTD_decompress(bytes, sizeof(bytes), packed_window, span->window_size);
	}
	if (!before && span->window_is == SPAN_WINDOW_USED && !ZSTD_isError(n)) {
		int r = scatter(span, packed, n, bytes);

		if (r < 0)
			return r;
		n = sizeof(bytes);
	}
	if (ZSTD_isError(n) || isal_inflate_set_dict(state, bytes, (uint32_t)n) != COMP_OK)
		return -EBADMSG;
	return 0;
}

/* Decodes to the end of the checkpoint's own member; *ret_used is where the bytes behind its trailer begin. */
static int run_checkpoint(const struct span *span, const uint8_t *packed, const uint8_t *window,
			  const struct span_before *before, struct sink *sink, size_t *ret_used)
{
	_cleanup_(fd_free_memory) struct inflate_state *state = calloc(1, sizeof(*state));
	const size_t first = span->bits ? 1 : 0;
	uint64_t used;
	int r;

	if (!state)
		return -ENOMEM;
	isal_inflate_init(state);
	state->crc_flag = ISAL_DEFLATE;
	if (span->bits) {
		state->read_in = packed[0] >> span->bits;
		state->read_in_length = 8 - span->bits;
	}
	r = set_window(state, span, packed, window, before);
	if (r < 0)
		return r;
	state->next_in = (uint8_t *)(uintptr_t)packed + first; /* never written to */
	state->avail_in = (uint32_t)(span->packed_size - first);
	*ret_used = (size_t)span->packed_size;
	for (;;) {
		uint8_t *out;
		size_t room = sink_room(sink, &out);

		if (room == 0)
			return 0;
		state->next_out = out;
		state->avail_out = (uint32_t)room;
		if (isal_inflate(state) < 0)
			return -EBADMSG;
		sink_take(sink, room - state->avail_out);
		if (state->block_state == ISAL_BLOCK_FINISH)
			break;
		if (state->avail_out == room)
			return 0; /* the packed bytes are used up */
	}
	/* What it read ahead is not its own. */
	used = (uint64_t)(state->next_in - packed) - (uint64_t)state->read_in_length / 8 + GZIP_TRAILER;
	if (used < span->packed_size)
		*ret_used = (size_t)used;
	return 0;
}

static int run_units(enum decoder_kind kind, const uint8_t *packed, size_t size, struct sink *sink)
{
	_cleanup_(decoder_free) struct decoder *d = NULL;
	int r = decoder_new(kind, &d);

	while (r == 0) {
		size_t took = 0, made = 0, room;
		uint8_t *out;

		room = sink_room(sink, &out);
		if (room == 0)
			return 0;
		r = decoder_run(d, packed, size, &took, out, room, &made);
		if (r == 0 && took == 0 && made == 0)
			return 0;
		packed += took;
		size -= took;
		sink_take(sink, made);
	}
	return r;
}

static int run(const struct span *span, const uint8_t *packed, const uint8_t *window, const struct span_before *before,
	       struct sink *sink)
{
	size_t used = 0;
	int r;

	switch (span->kind) {
	case SPAN_STORED:
		memcpy(sink->plain, packed, (size_t)span->packed_size);
		sink->made = (size_t)span->packed_size;
		return 0;
	case SPAN_GZIP:
		r = run_checkpoint(span, packed, window, before, sink, &used);
		return r < 0 || used == span->packed_size ?
			       r :
			       run_units(DECODER_GZIP, packed + used, (size_t)span->packed_size - used, sink);
	case SPAN_GZIP_MEMBER:
		return run_units(DECODER_GZIP, packed, (size_t)span->packed_size, sink);
	case SPAN_ZSTD:
		return run_units(DECODER_ZSTD, packed, (size_t)span->packed_size, sink);
	case SPAN_NONE:
	case SPAN_COPY:
	case SPAN_PASSING:
		break;
	}
	return -EOPNOTSUPP;
}

static int decode(const struct span *span, const uint8_t *packed, const uint8_t *window, const struct span_before *before,
		  uint8_t *plain)
{
	_cleanup_(fd_free_memory) struct sink *sink = calloc(1, sizeof(*sink));
	size_t missing;
	int r;

	if (!sink)
		return -ENOMEM;
	*sink = (struct sink){.plain = plain,
			      .size = (size_t)span->size,
			      .skip = span->skip,
			      .exact = span->digest_of == SPAN_DIGEST_PACKED};
	r = run(span, packed, window, before, sink);
	if (r < 0)
		return r;
	missing = sink->size - sink->made;
	if (sink->skip || missing >= SPAN_PAGE || sink->over || (span->digest_of != SPAN_DIGEST_PLAIN && missing))
		return -EBADMSG;
	memset(plain + sink->made, 0, sink->size - sink->made);
	return 0;
}

int span_decode(const struct span *span, const uint8_t *packed, const uint8_t *window, uint8_t *plain)
{
	return decode(span, packed, window, NULL, plain);
}

int span_decode_behind(const struct span *span, const uint8_t *packed, const struct span_before *before, uint8_t *plain)
{
	return decode(span, packed, NULL, before, plain);
}

/* Three windows made up so that what comes out tells where in the window it came from: an output byte that differs
 * between the first and the third is from position first | second << 8. A distance is at most 32 KiB, so only so
 * many bytes can refer to the window themselves, and what refers to those refers to nothing new. */
int span_decode_used(const struct span *span, const uint8_t *packed, uint8_t used[static SPAN_WINDOW_MAX])
{
	_cleanup_(fd_free_memory) uint8_t *out = calloc(3, SPAN_WINDOW_MAX);
	_cleanup_(fd_free_memory) struct span_before *before = malloc(sizeof(*before));
	struct span probe = *span;

	if (!out || !before)
		return -ENOMEM;
	before->size = SPAN_WINDOW_MAX;
	probe.window_size = 1; /* there is one */
	probe.skip = 0;
	probe.size = span->skip + span->size < SPAN_WINDOW_MAX ? span->skip + span->size : SPAN_WINDOW_MAX;
	probe.digest_of = SPAN_DIGEST_PLAIN;
	for (int pass = 0; pass < 3; pass++) {
		int r;

		for (size_t i = 0; i < SPAN_WINDOW_MAX; i++)
			before->bytes[i] = (uint8_t)(pass == 0 ? i : pass == 1 ? i >> 8 : ~i);
		r = span_decode_behind(&probe, packed, before, out + pass * SPAN_WINDOW_MAX);
		if (r < 0)
			return r;
	}
	memset(used, 0, SPAN_WINDOW_MAX);
	for (size_t i = 0; i < probe.size; i++) {
		size_t at = (size_t)out[i] | (size_t)out[SPAN_WINDOW_MAX + i] << 8;

		if (out[i] != out[2 * SPAN_WINDOW_MAX + i] && at < SPAN_WINDOW_MAX)
			used[at] = 1;
	}
	return 0;
}

bool span_decode_verify(const struct span *span, const uint8_t *packed, const uint8_t *plain)
{
	struct digest got;

	if (span->digest_of != SPAN_DIGEST_PLAIN)
		hash_bytes(packed, (size_t)span->packed_size, &got);
	else
		hash_bytes(plain, (size_t)span->size, &got);
	return digest_equal(&got, &span->digest);
}
