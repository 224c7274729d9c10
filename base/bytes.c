/* A growing buffer: doubled when it is full. */
#include "base/bytes.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bytes_free(struct bytes *b)
{
	free(b->data);
	*b = (struct bytes){0};
}

int bytes_reserve(struct bytes *b, size_t more)
{
	size_t need, capacity;
	uint8_t *data;

	if (__builtin_add_overflow(b->size, more, &need))
		return -ENOMEM;
	if (need <= b->capacity)
		return 0;
	capacity = b->capacity ? b->capacity : 64;
	while (capacity < need)
		if (__builtin_mul_overflow(capacity, (size_t)2, &capacity))
			return -ENOMEM;
	data = realloc(b->data, capacity);
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->capacity = capacity;
	return 0;
}

int bytes_append(struct bytes *b, const void *data, size_t size)
{
	int r = bytes_reserve(b, size);

	if (r < 0)
		return r;
	if (size)
		memcpy(b->data + b->size, data, size);
	b->size += size;
	return 0;
}

int bytes_printf(struct bytes *b, const char *fmt, ...)
{
	va_list args;
	int n, r;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n < 0)
		return -EINVAL;
	r = bytes_reserve(b, (size_t)n + 1);
	if (r < 0)
		return r;
	va_start(args, fmt);
	vsnprintf((char *)b->data + b->size, (size_t)n + 1, fmt, args);
	va_end(args);
	b->size += (size_t)n;
	return 0;
}

int bytes_terminate(struct bytes *b)
{
	int r = bytes_reserve(b, 1);

	if (r < 0)
		return r;
	b->data[b->size] = '\0';
	return 0;
}
