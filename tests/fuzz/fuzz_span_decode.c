/* Decodes one span: kind, bits and what its window is, skip, size, size of the window; then the window, or plain bytes before
 * the span, then the packed bytes. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "format/span_decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int decode_behind(const struct span *span, const uint8_t *packed, const uint8_t *bytes, uint8_t *plain)
{
	struct span_before before = {.size = span->window_size < SPAN_WINDOW_MAX ? span->window_size : SPAN_WINDOW_MAX};
	struct span s = *span;

	memcpy(before.bytes, bytes, before.size);
	if (s.kind == SPAN_GZIP) {
		s.window_size = 0;
		s.window_is = SPAN_WINDOW_BEFORE;
	}
	return span_decode_behind(&s, packed, &before, plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s = {.packed_off = 1};
	char text[REPORT_TEXT_SIZE];
	uint16_t skip, window;
	uint8_t *packed, *plain;
	bool used, behind;

	if (size < 8)
		return 0;
	memcpy(&skip, data + 2, 2);
	memcpy(&window, data + 4, 2);
	s.kind = data[0] & 0x40 ? SPAN_STORED : SPAN_GZIP + data[0] % 3;
	s.digest_of = data[0] >> 7 ? SPAN_DIGEST_PACKED + (data[0] >> 6 & 1) : SPAN_DIGEST_PLAIN;
	used = data[1] & 8;
	behind = data[1] & 16;
	s.bits = s.kind == SPAN_GZIP ? data[1] % 8 : 0;
	s.skip = skip;
	s.size = (uint64_t)(data[6] + 1) << 8;
	data += 7;
	size -= 7;
	s.window_size = s.kind == SPAN_GZIP ? (window < size ? window : (uint32_t)size - 1) : 0;
	s.window_is = s.window_size && used ? SPAN_WINDOW_USED : SPAN_WINDOW_WHOLE;
	s.packed_size = size - s.window_size;
	if (s.kind == SPAN_STORED) { /* as span_table has it */
		s.size = (s.packed_size + 4095) / 4096 * 4096;
		s.skip = 0;
	}
	packed = malloc(s.packed_size);
	plain = malloc(s.size);
	if (!packed || !plain)
		abort();
	memcpy(packed, data + s.window_size, s.packed_size);
	report_capture(text);
	if ((behind ? decode_behind(&s, packed, data, plain) : span_decode(&s, packed, data, plain)) == 0)
		span_decode_verify(&s, packed, plain);
	report_capture(NULL);
	free(packed);
	free(plain);
	return 0;
}
