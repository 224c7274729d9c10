/* Parses a SOCI index; each of its layers is found again. */
#include <stdlib.h>

#include "base/limits.h"
#include "base/report.h"
#include "format/soci_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct soci_index *s = NULL;
	char text[REPORT_TEXT_SIZE];

	report_capture(text);
	if (soci_index_parse(data, size, "index", &s) == 0) {
		if (s->n_layers > LIMIT_LAYERS || (s->version != 1 && s->version != 2) ||
		    (s->version == 1) != (s->subject.algorithm != DIGEST_NONE))
			abort();
		for (size_t i = 0; i < s->n_layers; i++)
			if (soci_index_layer(s, &s->layers[i].layer) != &s->layers[i] || digest_size(&s->layers[i].ztoc) == 0)
				abort();
	}
	report_capture(NULL);
	soci_index_free(&s);
	return 0;
}
