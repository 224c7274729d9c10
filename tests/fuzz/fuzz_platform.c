/* "os/arch/variant": what is taken is written so that it means the same again. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "format/platform.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char said[REPORT_TEXT_SIZE], text[128], *copy = strndup((const char *)data, size);
	struct platform p, again, here;

	report_capture(said);
	if (copy && platform_parse(copy, &p) == 0) {
		assert(platform_parse(platform_text(&p, text), &again) == 0);
		assert(platform_distance(&p, &again) == 0);
		if (platform_parse(NULL, &here) == 0)
			platform_distance(&here, &p);
	}
	report_capture(NULL);
	free(copy);
	return 0;
}
