/* Cuts any bytes (the first says gzip or zstd) into spans; each must decode to what its digest says. */
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "format/span_decode.h"
#include "format/span_maker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct span_table_builder *spans, const uint8_t *data, const struct bytes *windows)
{
	struct span_table_builder again = *spans;
	struct span_table *t;
	struct bytes table;

	if (span_table_finish(&again, &table) < 0 ||
	    span_table_load(table.data, table.size, spans->next_off, &t) < 0)
		abort();
	for (size_t i = 0; i < span_table_count(t); i++) {
		struct span s;
		uint8_t *out;

		span_table_get(t, i, &s);
		out = malloc(s.size);
		if (!out || span_decode(&s, data + s.packed_off, s.window_size ? windows->data + s.window_off : NULL, out) < 0 ||
		    !span_decode_verify(&s, data + s.packed_off, out))
			abort();
		free(out);
	}
	span_table_free(&t);
	bytes_free(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span_table_builder spans = {0};
	struct bytes windows = {0};
	struct span_maker *m = NULL;
	char text[REPORT_TEXT_SIZE];
	struct digest plain;
	uint64_t plain_size;

	if (size < 2)
		return 0;
	report_capture(text);
	if (span_maker_new(data[0] & 1 ? DECODER_ZSTD : DECODER_GZIP, &m) == 0 &&
	    span_maker_feed(m, data + 1, size / 2) == 0 && span_maker_feed(m, data + 1 + size / 2, size - 1 - size / 2) == 0 &&
	    span_maker_finish(m, &spans, &windows, &plain, &plain_size) == 0 && spans.n)
		check(&spans, data + 1, &windows);
	else
		span_table_builder_free(&spans);
	report_capture(NULL);
	span_maker_free(&m);
	bytes_free(&windows);
	return 0;
}
