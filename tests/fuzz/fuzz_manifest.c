/* A manifest or index: what is accepted can be chosen from. */
#include <assert.h>
#include <stdint.h>

#include "base/report.h"
#include "format/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const types[] = {NULL, "application/vnd.oci.image.manifest.v1+json; x"};
	const struct platform wanted = {.os = "linux", .architecture = "arm", .variant = "v7"};

	for (int i = 0; i < 2; i++) {
		const struct manifest_entry *e;
		char said[REPORT_TEXT_SIZE];
		struct manifest *m = NULL;

		report_capture(said);
		if (manifest_parse(data, size, types[i], "fuzzed", &m) == 0) {
			assert(m->is_index || m->n_layers == 0 || media_type_is_layer(m->layers[0].type));
			if (m->is_index && manifest_choose(m, &wanted, "fuzzed", &e) == 0)
				assert(e->descriptor.type != MEDIA_OTHER);
		} else {
			assert(said[0]);
		}
		manifest_free(&m);
		report_capture(NULL);
	}
	return 0;
}
