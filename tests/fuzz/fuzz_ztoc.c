/* Parses a zTOC and walks all it says. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "format/ztoc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink; /* so that each byte handed out is read */

static void walk_files(const struct ztoc *z)
{
	size_t budget = 1u << 16; /* xattrs may be shared by all files */

	for (size_t i = 0; i < ztoc_n_files(z); i++) {
		struct ztoc_file f;

		if (ztoc_file_get(z, i, &f) < 0)
			continue;
		if (f.name_size > LIMIT_PATH_SIZE || f.size > LIMIT_LAYER_FILE_SIZE)
			abort();
		sink = (uint8_t)f.name[f.name_size - 1];
		for (size_t k = 0; k < f.n_records && budget > 0; k++, budget--) {
			struct ztoc_record x;

			if (ztoc_record_get(&f, k, &x) == 0 && x.value_size > 0)
				sink = (uint8_t)x.value[x.value_size - 1];
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ztoc *z = NULL;

	if (ztoc_parse(data, size, &z) < 0)
		return 0;
	walk_files(z);
	for (size_t i = 0; i < ztoc_n_spans(z); i++) {
		struct ztoc_span s;

		ztoc_span_get(z, i, &s);
		if (s.packed_size == 0 || s.size == 0)
			abort();
		if (s.window)
			sink = s.window[ZTOC_WINDOW_SIZE - 1];
	}
	ztoc_free(&z);
	return 0;
}
