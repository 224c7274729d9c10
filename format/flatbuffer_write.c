/* Everything begins at a multiple of 8, which suits all kinds of numbers. */
#include "format/flatbuffer_write.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static void put(struct bytes *b, size_t at, uint64_t value, size_t width)
{
	assert(at <= b->size && width <= b->size - at);
	for (size_t i = 0; i < width; i++)
		b->data[at + i] = (uint8_t)(value >> 8 * i);
}

static int zeros(struct bytes *b, size_t n)
{
	int r;

	if (n == 0)
		return 0;
	if (n > INT32_MAX || b->size > INT32_MAX - n)
		return -EFBIG;
	r = bytes_reserve(b, n);
	if (r < 0)
		return r;
	memset(b->data + b->size, 0, n);
	b->size += n;
	return 0;
}

int flatbuffer_write_align(struct bytes *b)
{
	return zeros(b, -b->size & 7);
}

void flatbuffer_write_u32(struct bytes *b, size_t at, uint32_t value)
{
	put(b, at, value, 4);
}

void flatbuffer_write_u64(struct bytes *b, size_t at, uint64_t value)
{
	put(b, at, value, 8);
}

void flatbuffer_write_offset(struct bytes *b, size_t at, size_t target)
{
	assert(target > at);
	put(b, at, target - at, 4);
}

int flatbuffer_write_vtable(struct bytes *b, const uint16_t *offsets, size_t n, size_t table_size, size_t *ret_pos)
{
	int r = flatbuffer_write_align(b);
	size_t pos = b->size;

	if (r == 0)
		r = zeros(b, 4 + 2 * n);
	if (r < 0)
		return r;
	put(b, pos, 4 + 2 * n, 2);
	put(b, pos + 2, table_size, 2);
	for (size_t i = 0; i < n; i++)
		put(b, pos + 4 + 2 * i, offsets[i], 2);
	*ret_pos = pos;
	return 0;
}

int flatbuffer_write_table(struct bytes *b, size_t vtable_pos, size_t table_size, size_t *ret_pos)
{
	int r = flatbuffer_write_align(b);
	size_t pos = b->size;

	if (r == 0)
		r = zeros(b, table_size);
	if (r < 0)
		return r;
	put(b, pos, pos - vtable_pos, 4); /* a distance back */
	*ret_pos = pos;
	return 0;
}

int flatbuffer_write_vector(struct bytes *b, size_t at, size_t n, size_t element_size, size_t *ret_pos)
{
	int r = flatbuffer_write_align(b);
	size_t pos = b->size;

	if (r == 0)
		r = n > INT32_MAX / element_size ? -EFBIG : zeros(b, 4 + n * element_size);
	if (r < 0)
		return r;
	put(b, pos, n, 4);
	flatbuffer_write_offset(b, at, pos);
	*ret_pos = pos + 4;
	return 0;
}

/* A byte of zero behind it, which its size does not count. */
int flatbuffer_write_string(struct bytes *b, size_t at, const char *text, size_t size)
{
	size_t pos;
	int r = size > INT32_MAX - 1 ? -EFBIG : zeros(b, -b->size & 3);

	if (r < 0)
		return r;
	pos = b->size;
	r = zeros(b, 4 + size + 1);
	if (r < 0)
		return r;
	put(b, pos, size, 4);
	memcpy(b->data + pos + 4, text, size);
	flatbuffer_write_offset(b, at, pos);
	return 0;
}
