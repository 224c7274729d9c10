/* Cuts any bytes (the first says gzip or zstd) into spans; each must decode to what its digest says, one after the other. The third kind is
 * raw deflate, which gets the header and the right trailer that mutations would break. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/report.h"
#include "format/span_decode.h"
#include "format/span_maker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PLAIN_MAX (2u << 20)

static int decode(const struct span *s, const uint8_t *packed, const uint8_t *windows, uint8_t *plain)
{
	struct span_before before = {.size = SPAN_WINDOW_MAX};

	if (s->window_is != SPAN_WINDOW_BEFORE)
		return span_decode(s, packed, s->window_size ? windows + s->window_off : NULL, plain + s->off);
	memcpy(before.bytes, plain + s->off - s->skip - SPAN_WINDOW_MAX, SPAN_WINDOW_MAX);
	return span_decode_behind(s, packed, &before, plain + s->off);
}

static void check(const struct span_table_builder *spans, const uint8_t *data, const struct bytes *windows)
{
	uint8_t *plain = malloc(spans->next_off);
	struct span_table_builder again = *spans;
	struct span_table *t;
	struct bytes table;

	if (span_table_finish(&again, &table) < 0 ||
	    span_table_load(table.data, table.size, spans->next_off, &t) < 0)
		abort();
	for (size_t i = 0; i < span_table_count(t); i++) {
		struct span s;

		span_table_get(t, i, &s);
		if (!plain || decode(&s, data + s.packed_off, windows->data, plain) < 0 ||
		    !span_decode_verify(&s, data + s.packed_off, plain + s.off))
			abort();
	}
	free(plain);
	span_table_free(&t);
	bytes_free(&table);
}

/* One gzip member around the first stream in `data`; NULL: there is none. What follows it goes behind. */
static uint8_t *make_member(const uint8_t *data, size_t size, size_t *ret_size)
{
	static const uint8_t head[10] = {0x1f, 0x8b, 8};
	static uint8_t plain[PLAIN_MAX];
	z_stream z = {.next_in = (uint8_t *)(uintptr_t)data, .avail_in = (unsigned int)size, .next_out = plain,
		      .avail_out = PLAIN_MAX};
	uint32_t tail[2];
	uint8_t *out = NULL;
	int r = inflateInit2(&z, -15);

	if (r == Z_OK)
		r = inflate(&z, Z_FINISH);
	if (r == Z_STREAM_END && (out = malloc(sizeof(head) + size + sizeof(tail)))) {
		size_t used = size - z.avail_in;

		tail[0] = htole32((uint32_t)crc32(0, plain, (unsigned int)z.total_out));
		tail[1] = htole32((uint32_t)z.total_out);
		memcpy(out, head, sizeof(head));
		memcpy(out + sizeof(head), data, used);
		memcpy(out + sizeof(head) + used, tail, sizeof(tail));
		memcpy(out + sizeof(head) + used + sizeof(tail), data + used, size - used);
		*ret_size = sizeof(head) + size + sizeof(tail);
	}
	inflateEnd(&z);
	return out;
}

static void cut(enum decoder_kind kind, const uint8_t *data, size_t size)
{
	struct span_table_builder spans = {0};
	struct bytes windows = {0};
	struct span_maker *m = NULL;
	char text[REPORT_TEXT_SIZE];
	struct digest plain;
	uint64_t plain_size;

	report_capture(text);
	if (span_maker_new(kind, &m) == 0 && span_maker_feed(m, data, size / 2) == 0 &&
	    span_maker_feed(m, data + size / 2, size - size / 2) == 0 &&
	    span_maker_finish(m, &spans, &windows, &plain, &plain_size) == 0 && spans.n)
		check(&spans, data, &windows);
	else
		span_table_builder_free(&spans);
	report_capture(NULL);
	span_maker_free(&m);
	bytes_free(&windows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	if (data[0] & 2) {
		uint8_t *member = make_member(data + 1, size - 1, &size);

		if (member)
			cut(DECODER_GZIP, member, size);
		free(member);
	} else {
		cut(data[0] & 1 ? DECODER_ZSTD : DECODER_GZIP, data + 1, size - 1);
	}
	return 0;
}
