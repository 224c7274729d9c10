/* bytes: a growing buffer of bytes on the heap.
 *
 * Ownership  bytes_free() ends it; an all-zero struct is a valid empty one.
 * Units      size and capacity count bytes.
 * Errors     -ENOMEM only.
 * Threads    A plain value; no two threads at once.
 * Source     -
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct bytes {
	uint8_t *data;
	size_t size;
	size_t capacity;
};

void bytes_free(struct bytes *b);

/* Makes room for `more` bytes behind size. */
int bytes_reserve(struct bytes *b, size_t more);
int bytes_append(struct bytes *b, const void *data, size_t size);

/* Appends a formatted text without its NUL. */
int bytes_printf(struct bytes *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts a NUL behind the content (not counted in size), so that data reads as a string. */
int bytes_terminate(struct bytes *b);
