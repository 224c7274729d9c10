/* Every read is checked against what is left before a byte is touched. */
#include "base/cursor.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* Compares by subtraction: `pos + n` wraps when a hostile length is near SIZE_MAX. */
int cursor_take(struct cursor *c, size_t n, const uint8_t **ret)
{
	if (n > c->size - c->pos) /* invariant: pos <= size */
		return -EBADMSG;
	*ret = c->data + c->pos;
	c->pos += n;
	return 0;
}

int cursor_skip(struct cursor *c, size_t n)
{
	const uint8_t *at;

	return cursor_take(c, n, &at);
}

int cursor_u8(struct cursor *c, uint8_t *ret)
{
	const uint8_t *at;
	int r = cursor_take(c, 1, &at);

	if (r == 0)
		*ret = *at;
	return r;
}

int cursor_u16(struct cursor *c, uint16_t *ret)
{
	const uint8_t *at;
	int r = cursor_take(c, sizeof(*ret), &at);

	if (r < 0)
		return r;
	memcpy(ret, at, sizeof(*ret));
	*ret = le16toh(*ret);
	return 0;
}

int cursor_u32(struct cursor *c, uint32_t *ret)
{
	const uint8_t *at;
	int r = cursor_take(c, sizeof(*ret), &at);

	if (r < 0)
		return r;
	memcpy(ret, at, sizeof(*ret));
	*ret = le32toh(*ret);
	return 0;
}

int cursor_u64(struct cursor *c, uint64_t *ret)
{
	const uint8_t *at;
	int r = cursor_take(c, sizeof(*ret), &at);

	if (r < 0)
		return r;
	memcpy(ret, at, sizeof(*ret));
	*ret = le64toh(*ret);
	return 0;
}
