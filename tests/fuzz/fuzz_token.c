/* What a token server answers: what is taken from it is one header line. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "fetch/auth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct auth_header h = {0};
	char text[REPORT_TEXT_SIZE];
	uint64_t seconds;

	report_capture(text);
	if (auth_parse_token("registry.example", data, size, &h.line, &seconds) == 0) {
		for (const char *c = h.line; *c; c++)
			assert(*c >= ' ' && *c < 127);
		assert(seconds > 0 && strlen(h.line) < size + 64);
	} else {
		assert(text[0]);
	}
	auth_header_free(&h);
	report_capture(NULL);
	return 0;
}
