/* cursor: bounds-checked reading of hostile bytes from front to back.
 *
 * Ownership  Points into bytes of the caller's.
 * Units      Bytes. Numbers on disk are little-endian unless the name says otherwise.
 * Errors     -EBADMSG: fewer bytes are left than asked for. Returned bare.
 * Threads    A plain value.
 * Source     -
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct cursor {
	const uint8_t *data;
	size_t size;
	size_t pos;
};

/* *ret points at the next `n` bytes, and the cursor moves behind them. */
int cursor_take(struct cursor *c, size_t n, const uint8_t **ret);
int cursor_skip(struct cursor *c, size_t n);
int cursor_u8(struct cursor *c, uint8_t *ret);
int cursor_u16(struct cursor *c, uint16_t *ret);
int cursor_u32(struct cursor *c, uint32_t *ret);
int cursor_u64(struct cursor *c, uint64_t *ret);
