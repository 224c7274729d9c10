/* A --format text, a NUL byte, and the JSON that it is filled from: the text is the user's, the values an image's. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json_field.h"
#include "base/report.h"
#include "cli/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = memchr(data, '\0', size);
	struct json_object *o = NULL;
	struct bytes out = {0};
	char text[REPORT_TEXT_SIZE], *format;

	if (!nul || json_field_parse(nul + 1, size - (size_t)(nul + 1 - data), &o) < 0)
		return 0;
	format = strdup((const char *)data);
	report_capture(text);
	if (format && template_render(format, o, &out) < 0 && !text[0])
		abort();
	report_capture(NULL);
	free(format);
	bytes_free(&out);
	json_field_free(&o);
	return 0;
}
