/* flatbuffer_write: appends tables, strings and vectors to a FlatBuffers blob, front to back: a parent first, what it
 * leads to behind it, the offset to that patched in afterwards.
 *
 * Ownership  -
 * Units      Positions count bytes of the buffer, whose first byte is the blob's (or at a multiple of 8 in it).
 * Errors     -ENOMEM; -EFBIG: more than an offset of 32 bits spans. Bare.
 * Threads    Any; a buffer is used by one at a time.
 * Source     FlatBuffers' internals, see flatbuffer.h. Numbers lie at multiples of their size.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* `offsets` are those of the table's slots in it, 0: it has none. `table_size` counts the 4 bytes before the first. */
int flatbuffer_write_vtable(struct bytes *b, const uint16_t *offsets, size_t n, size_t table_size, size_t *ret_pos);

/* A table of zeros. */
int flatbuffer_write_table(struct bytes *b, size_t vtable_pos, size_t table_size, size_t *ret_pos);

/* n elements of zeros; the offset at `at` leads to it. *ret_pos is that of the first element. */
int flatbuffer_write_vector(struct bytes *b, size_t at, size_t n, size_t element_size, size_t *ret_pos);

/* The offset at `at` leads to it. */
int flatbuffer_write_string(struct bytes *b, size_t at, const char *text, size_t size);

/* Zeros up to a multiple of 8. */
int flatbuffer_write_align(struct bytes *b);

void flatbuffer_write_u32(struct bytes *b, size_t at, uint32_t value);
void flatbuffer_write_u64(struct bytes *b, size_t at, uint64_t value);

/* The offset at `at` leads to `target`, which lies behind it. */
void flatbuffer_write_offset(struct bytes *b, size_t at, size_t target);
