/* index.json of an image layout, as anyone may have written it. */
#include <assert.h>

#include "base/report.h"
#include "fetch/layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[REPORT_TEXT_SIZE];
	struct layout_entry e;

	report_capture(text);
	if (layout_parse_index(data, size, "oci:/x", "v1", &e) == 0)
		assert(digest_size(&e.digest));
	if (layout_parse_index(data, size, "oci:/x", NULL, &e) == 0)
		assert(digest_size(&e.digest));
	report_capture(NULL);
	return 0;
}
