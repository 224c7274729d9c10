/* base64: bytes that are written as base64 in JSON documents.
 *
 * Ownership  The caller's buffer.
 * Units      Bytes; no NUL is written.
 * Errors     -EBADMSG: not base64. Bare.
 * Threads    Any.
 * Source     RFC 4648, both alphabets, padding optional.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Room for what `size` characters can hold. */
#define BASE64_PLAIN_SIZE(size) ((size) / 4 * 3 + 3)

int base64_decode(const char *text, size_t size, uint8_t *out, size_t *ret_size);

/* Room for the text of `size` bytes, with its NUL. */
#define BASE64_TEXT_SIZE(size) (((size) + 2) / 3 * 4 + 1)

/* Padded, the plain alphabet. */
void base64_encode(const void *data, size_t size, char *out);
