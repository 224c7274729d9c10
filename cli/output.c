/* stdio, with the cleaning in one place. */
#include "cli/output.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/report.h"
#include "cli/template.h"

int output_raw(const void *data, size_t size)
{
	if (size > 0 && fwrite(data, 1, size, stdout) != size)
		return fail(errno, "standard output cannot be written: %s", strerror(errno));
	return 0;
}

int output_text(const void *text, size_t size)
{
	const unsigned char *c = text;
	size_t from = 0;
	int r;

	if (!isatty(STDOUT_FILENO))
		return output_raw(text, size);
	for (size_t i = 0; i < size; i++) {
		if ((c[i] >= ' ' && c[i] != 127) || c[i] == '\n' || c[i] == '\t')
			continue;
		r = output_raw(c + from, i - from);
		if (r == 0)
			r = output_raw("?", 1);
		if (r < 0)
			return r;
		from = i + 1;
	}
	return output_raw(c + from, size - from);
}

int output_string(const char *text)
{
	return output_text(text, strlen(text));
}

int output_json(struct json_object *o)
{
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
								     JSON_C_TO_STRING_NOSLASHESCAPE);
	int r;

	if (!text)
		return -ENOMEM;
	r = output_string(text);
	return r < 0 ? r : output_raw("\n", 1);
}

int output_format(const char *format, struct json_object *o)
{
	_cleanup_(bytes_free) struct bytes text = {0};
	int r = template_render(format, o, &text);

	if (r == 0)
		r = bytes_append(&text, "\n", 1);
	return r < 0 ? r : output_text(text.data, text.size);
}
