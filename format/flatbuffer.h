/* flatbuffer: bounds-checked reading of tables, strings and vectors in a FlatBuffers blob.
 *
 * Ownership  Everything points into bytes of the caller's.
 * Units      Slots count the fields of a table in the order of its schema, from 0.
 * Errors     -EBADMSG: an offset or a length points outside the blob. -ENODATA: a string, vector or table
 *            that is not there, which is expected. Bare.
 * Threads    Plain values.
 * Source     FlatBuffers' internals: a table begins with the i32 distance back to its vtable; a vtable is
 *            u16 own size, u16 table size, then a u16 offset into the table for each slot, 0 = default.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct flatbuffer_table {
	const uint8_t *data; /* the whole blob */
	size_t size;
	size_t pos; /* of the table */
	size_t vtable_pos;
	uint16_t vtable_size, table_size;
};

struct flatbuffer_vector {
	const uint8_t *data; /* the whole blob */
	size_t size;
	size_t pos; /* of the first element */
	uint32_t n;
};

int flatbuffer_root(const void *data, size_t size, struct flatbuffer_table *ret);

/* A number of `width` bytes, 1, 2, 4 or 8, not sign-extended; 'missing' when the table does not hold it. */
int flatbuffer_number(const struct flatbuffer_table *t, unsigned slot, size_t width, uint64_t missing, uint64_t *ret);
int flatbuffer_table(const struct flatbuffer_table *t, unsigned slot, struct flatbuffer_table *ret);
int flatbuffer_vector(const struct flatbuffer_table *t, unsigned slot, size_t element_size,
		      struct flatbuffer_vector *ret);

/* Not NUL-terminated. */
int flatbuffer_string(const struct flatbuffer_table *t, unsigned slot, const char **ret, size_t *ret_size);

/* Element `i` < n of a vector of tables or of strings. */
int flatbuffer_vector_table(const struct flatbuffer_vector *v, uint32_t i, struct flatbuffer_table *ret);
int flatbuffer_vector_string(const struct flatbuffer_vector *v, uint32_t i, const char **ret, size_t *ret_size);
