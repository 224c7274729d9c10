/* An image's passwd and group: the input's first line is the user's text, then passwd, a NUL byte, group. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/report.h"
#include "runtime/user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *line = memchr(data, '\n', size), *nul;
	char text[REPORT_TEXT_SIZE], name[64];
	struct bytes passwd = {0}, group = {0};
	struct user u = {0};

	if (!line || (size_t)(line - data) >= sizeof(name))
		return 0;
	snprintf(name, sizeof(name), "%.*s", (int)(line - data), (const char *)data);
	line++;
	nul = memchr(line, '\0', size - (size_t)(line - data));
	passwd.size = nul ? (size_t)(nul - line) : size - (size_t)(line - data);
	if (bytes_append(&group, nul ? nul + 1 : line, nul ? size - (size_t)(nul + 1 - data) : 0) < 0)
		return 0;
	uint8_t *copy = NULL; /* on the heap, so that a sanitizer sees a read past the end */
	struct bytes fresh = {0};
	if (bytes_append(&fresh, line, passwd.size) == 0) {
		copy = fresh.data;
		passwd.data = copy;
		report_capture(text);
		user_parse(&passwd, &group, name, NULL, &u);
		report_capture(NULL);
	}
	user_free(&u);
	bytes_free(&fresh);
	bytes_free(&group);
	return 0;
}
