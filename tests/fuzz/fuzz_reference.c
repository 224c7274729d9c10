/* Whatever is accepted has a canonical text that means the same. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/report.h"
#include "format/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char said[REPORT_TEXT_SIZE], text[LIMIT_PATH_SIZE + 512], again[LIMIT_PATH_SIZE + 512];
	struct reference ref;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	report_capture(said);
	if (reference_parse(text, &ref) == 0) {
		reference_text(&ref, text);
		assert(reference_parse(text, &ref) == 0);
		assert(strcmp(reference_text(&ref, again), text) == 0);
	} else {
		assert(said[0]);
	}
	report_capture(NULL);
	return 0;
}
