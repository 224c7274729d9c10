/* Reads a table of contents, makes a layer of it, and looks for a footer in the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "format/erofs_read.h"
#include "format/span_table.h"
#include "format/toc_layer.h"
#include "format/toc_place.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_layer(struct layer_builder *b, const struct bytes *spans, uint64_t bodies)
{
	uint64_t index_size, layer_file_size;
	struct span_table *t = NULL;
	struct erofs_read index;
	void *out;

	if (layer_builder_finish(b, bodies, &index_size, &layer_file_size) < 0 || index_size > 64u << 20)
		return;
	out = calloc(1, index_size);
	layer_builder_render(b, out);
	if (erofs_read_open(out, index_size, &index) < 0 || index.layer_file_size != layer_file_size ||
	    span_table_load(spans->data, spans->size, layer_file_size, &t) < 0)
		abort();
	span_table_free(&t);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[REPORT_TEXT_SIZE];
	bool external;

	report_capture(text);
	for (enum toc_kind kind = TOC_ESTARGZ; kind <= TOC_ZSTD_CHUNKED; kind++) {
		struct toc_place p = {.kind = kind};
		struct layer_builder *b = NULL;
		struct bytes spans = {0};
		uint64_t bodies;

		if (layer_builder_new(&b) < 0)
			return 0;
		if (toc_layer_build(kind, data, size, 1u << 30, b, &spans, &bodies) == 0)
			check_layer(b, &spans, bodies);
		layer_builder_free(&b);
		bytes_free(&spans);
		if (toc_place_footer(&p, data, size, size, &external) == 0 && !external &&
		    (p.packed_size == 0 || p.off > size || p.packed_size > size - p.off))
			abort();
	}
	report_capture(NULL);
	return 0;
}
