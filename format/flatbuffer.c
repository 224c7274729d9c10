/* Each offset is checked where it is followed; nothing is walked in advance, so a blob costs what is read of it. */
#include "format/flatbuffer.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

static int number_at(const uint8_t *data, size_t size, size_t pos, size_t width, uint64_t *ret)
{
	uint64_t v = 0;

	assert(width <= sizeof(v));
	if (pos > size || width > size - pos)
		return -EBADMSG;
	memcpy(&v, data + pos, width);
	*ret = le64toh(v);
	return 0;
}

/* Follows the u32 offset at `pos`. */
static int follow(const uint8_t *data, size_t size, size_t pos, size_t *ret)
{
	uint64_t off;

	if (number_at(data, size, pos, 4, &off) < 0 || off > size - pos)
		return -EBADMSG;
	*ret = pos + (size_t)off;
	return 0;
}

static int table_at(const uint8_t *data, size_t size, size_t pos, struct flatbuffer_table *ret)
{
	struct flatbuffer_table t = {.data = data, .size = size, .pos = pos};
	uint64_t back, vtable_size, table_size;
	int64_t vtable;

	if (size > INT32_MAX || number_at(data, size, pos, 4, &back) < 0)
		return -EBADMSG;
	vtable = (int64_t)pos - (int32_t)(uint32_t)back;
	if (vtable < 0 || (uint64_t)vtable > size)
		return -EBADMSG;
	t.vtable_pos = (size_t)vtable;
	if (number_at(data, size, t.vtable_pos, 2, &vtable_size) < 0 ||
	    number_at(data, size, t.vtable_pos + 2, 2, &table_size) < 0)
		return -EBADMSG;
	if (vtable_size < 4 || vtable_size % 2 != 0 || vtable_size > size - t.vtable_pos || table_size < 4 ||
	    table_size > size - pos)
		return -EBADMSG;
	t.vtable_size = (uint16_t)vtable_size;
	t.table_size = (uint16_t)table_size;
	*ret = t;
	return 0;
}

static int string_at(const uint8_t *data, size_t size, size_t pos, const char **ret, size_t *ret_size)
{
	uint64_t n;

	if (number_at(data, size, pos, 4, &n) < 0 || n > size - pos - 4)
		return -EBADMSG;
	*ret = (const char *)data + pos + 4;
	*ret_size = (size_t)n;
	return 0;
}

/* -ENODATA: the table does not hold the field. */
static int field_at(const struct flatbuffer_table *t, unsigned slot, size_t width, size_t *ret)
{
	size_t entry = 4 + 2 * (size_t)slot;
	uint64_t off;

	if (entry + 2 > t->vtable_size)
		return -ENODATA;
	if (number_at(t->data, t->size, t->vtable_pos + entry, 2, &off) < 0)
		return -EBADMSG;
	if (off == 0)
		return -ENODATA;
	if (off < 4 || off > t->table_size || width > t->table_size - off)
		return -EBADMSG;
	*ret = t->pos + (size_t)off;
	return 0;
}

static int reference_at(const struct flatbuffer_table *t, unsigned slot, size_t *ret)
{
	size_t pos;
	int r = field_at(t, slot, 4, &pos);

	return r < 0 ? r : follow(t->data, t->size, pos, ret);
}

int flatbuffer_root(const void *data, size_t size, struct flatbuffer_table *ret)
{
	size_t pos;

	if (follow(data, size, 0, &pos) < 0)
		return -EBADMSG;
	return table_at(data, size, pos, ret);
}

int flatbuffer_number(const struct flatbuffer_table *t, unsigned slot, size_t width, uint64_t missing, uint64_t *ret)
{
	size_t pos;
	int r = field_at(t, slot, width, &pos);

	if (r == -ENODATA) {
		*ret = missing;
		return 0;
	}
	return r < 0 ? r : number_at(t->data, t->size, pos, width, ret);
}

int flatbuffer_table(const struct flatbuffer_table *t, unsigned slot, struct flatbuffer_table *ret)
{
	size_t pos;
	int r = reference_at(t, slot, &pos);

	return r < 0 ? r : table_at(t->data, t->size, pos, ret);
}

int flatbuffer_vector(const struct flatbuffer_table *t, unsigned slot, size_t element_size,
		      struct flatbuffer_vector *ret)
{
	size_t pos;
	uint64_t n;
	int r = reference_at(t, slot, &pos);

	if (r < 0)
		return r;
	if (number_at(t->data, t->size, pos, 4, &n) < 0 || n > (t->size - pos - 4) / element_size)
		return -EBADMSG;
	*ret = (struct flatbuffer_vector){.data = t->data, .size = t->size, .pos = pos + 4, .n = (uint32_t)n};
	return 0;
}

int flatbuffer_string(const struct flatbuffer_table *t, unsigned slot, const char **ret, size_t *ret_size)
{
	size_t pos;
	int r = reference_at(t, slot, &pos);

	return r < 0 ? r : string_at(t->data, t->size, pos, ret, ret_size);
}

int flatbuffer_vector_table(const struct flatbuffer_vector *v, uint32_t i, struct flatbuffer_table *ret)
{
	size_t pos;

	assert(i < v->n);
	if (follow(v->data, v->size, v->pos + 4 * (size_t)i, &pos) < 0)
		return -EBADMSG;
	return table_at(v->data, v->size, pos, ret);
}

int flatbuffer_vector_string(const struct flatbuffer_vector *v, uint32_t i, const char **ret, size_t *ret_size)
{
	size_t pos;

	assert(i < v->n);
	if (follow(v->data, v->size, v->pos + 4 * (size_t)i, &pos) < 0)
		return -EBADMSG;
	return string_at(v->data, v->size, pos, ret, ret_size);
}
