/* Four characters are three bytes; the last group may be shorter. */
#include "base/base64.h"

#include <errno.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int value_of(char c)
{
	const char *found = c ? strchr(digits, c) : NULL;

	if (c == '-' || c == '_') /* the alphabet for URLs */
		return c == '-' ? 62 : 63;
	return found ? (int)(found - digits) : -1;
}

int base64_decode(const char *text, size_t size, uint8_t *out, size_t *ret_size)
{
	uint32_t bits = 0;
	size_t n = 0;

	while (size > 0 && text[size - 1] == '=')
		size--;
	if (size % 4 == 1)
		return -EBADMSG;
	for (size_t i = 0; i < size; i++) {
		int value = value_of(text[i]);

		if (value < 0)
			return -EBADMSG;
		bits = bits << 6 | (uint32_t)value;
		if (i % 4 != 0)
			out[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	*ret_size = n;
	return 0;
}

void base64_encode(const void *data, size_t size, char *out)
{
	const uint8_t *p = data;

	for (size_t n; size > 0; p += n, size -= n) {
		uint32_t bits = (uint32_t)p[0] << 16 | (size > 1 ? (uint32_t)p[1] << 8 : 0) | (size > 2 ? p[2] : 0);

		n = size < 3 ? size : 3;
		*out++ = digits[bits >> 18];
		*out++ = digits[bits >> 12 & 63];
		*out++ = size > 1 ? digits[bits >> 6 & 63] : '=';
		*out++ = size > 2 ? digits[bits & 63] : '=';
	}
	*out = '\0';
}
