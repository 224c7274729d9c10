/* Loads a span table (the first 8 bytes say the layer file's size) and looks up spans all over it. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "format/span_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span_table *t = NULL;
	uint64_t layer_size, end = 0;

	if (size < sizeof(layer_size))
		return 0;
	memcpy(&layer_size, data, sizeof(layer_size));
	layer_size = le64toh(layer_size);
	if (span_table_load(data + 8, size - 8, layer_size, &t) < 0)
		return 0;
	const bool foreign = span_table_is_foreign(t);
	for (size_t i = 0; i < span_table_count(t); i++) {
		struct span s;
		size_t found;

		span_table_get(t, i, &s);
		if ((foreign ? s.off < end : s.off != end) || s.size == 0 || s.size > layer_size - s.off)
			abort();
		if (span_table_at(t, s.off, &found) != 0 || found != i ||
		    span_table_at(t, s.off + s.size - 1, &found) != 0 || found != i)
			abort();
		end = s.off + s.size;
	}
	if (!foreign && end != layer_size)
		abort();
	span_table_free(&t);
	return 0;
}
