/* Parses a zTOC, walks all it says, and makes a layer of it. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/report.h"
#include "format/erofs_read.h"
#include "format/span_table.h"
#include "format/ztoc_layer.h"

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

static void check_layer(struct layer_builder *b, const struct ztoc *z, const struct bytes *spans)
{
	uint64_t index_size, layer_file_size;
	struct span_table *t = NULL;
	struct erofs_read index;
	void *out;

	if (layer_builder_finish(b, ztoc_size(z), &index_size, &layer_file_size) < 0 || index_size > 64u << 20)
		return;
	out = calloc(1, index_size);
	layer_builder_render(b, out);
	if (erofs_read_open(out, index_size, &index) < 0 || index.layer_file_size != layer_file_size ||
	    span_table_load(spans->data, spans->size, layer_file_size, &t) < 0)
		abort();
	span_table_free(&t);
	free(out);
}

static void make_layer(const struct ztoc *z)
{
	struct bytes spans = {0}, windows = {0};
	struct layer_builder *b = NULL;
	char text[REPORT_TEXT_SIZE];

	report_capture(text);
	if (layer_builder_new(&b) == 0 && ztoc_layer_build(z, b, &spans, &windows) == 0)
		check_layer(b, z, &spans);
	report_capture(NULL);
	layer_builder_free(&b);
	bytes_free(&spans);
	bytes_free(&windows);
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
		if (s.packed_size == 0 || (s.size == 0 && i + 1 < ztoc_n_spans(z)))
			abort();
		if (s.window)
			sink = s.window[ZTOC_WINDOW_SIZE - 1];
	}
	make_layer(z);
	ztoc_free(&z);
	return 0;
}
