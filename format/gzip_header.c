/* Reads a gzip member's header byte by byte: fixed part, extra field, name, comment, checksum. */
#include "format/gzip_header.h"

#include <errno.h>
#include <stdbool.h>

#include <isa-l/crc.h>

enum field {
	FIXED, /* ten bytes */
	EXTRA_SIZE,
	EXTRA,
	NAME,
	COMMENT,
	CHECKSUM,
	COMPLETE,
};

enum flag { /* bit 0, FTEXT, is a hint */
	    FLAG_CHECKSUM = 1 << 1,
	    FLAG_EXTRA = 1 << 2,
	    FLAG_NAME = 1 << 3,
	    FLAG_COMMENT = 1 << 4,
	    FLAG_RESERVED = 0xe0,
};

static bool has(const struct gzip_header *h, enum field f)
{
	switch (f) {
	case EXTRA_SIZE:
		return h->flags & FLAG_EXTRA;
	case EXTRA:
		return h->extra_size;
	case NAME:
		return h->flags & FLAG_NAME;
	case COMMENT:
		return h->flags & FLAG_COMMENT;
	case CHECKSUM:
		return h->flags & FLAG_CHECKSUM;
	case FIXED:
	case COMPLETE:
		break;
	}
	return true;
}

static int take_fixed(struct gzip_header *h, uint8_t byte)
{
	static const uint8_t start[3] = {0x1f, 0x8b, 8}; /* magic, deflate */

	if (h->pos < 3 && byte != start[h->pos])
		return -EBADMSG;
	if (h->pos == 3) {
		h->flags = byte;
		if (byte & FLAG_RESERVED)
			return -EBADMSG;
	}
	return h->pos == 9;
}

/* One byte of the current field; returns 1 when it was the field's last. */
static int take(struct gzip_header *h, uint8_t byte)
{
	switch ((enum field)h->field) {
	case FIXED:
		return take_fixed(h, byte);
	case EXTRA_SIZE:
		h->extra_size |= (uint32_t)byte << (8 * h->pos);
		return h->pos == 1;
	case EXTRA:
		return h->pos == h->extra_size - 1;
	case NAME:
	case COMMENT:
		return !byte;
	case CHECKSUM:
		if (byte != (uint8_t)(h->crc >> (8 * h->pos)))
			return -EBADMSG;
		return h->pos == 1;
	case COMPLETE:
		break;
	}
	return 1;
}

int gzip_header_take(struct gzip_header *h, const uint8_t *data, size_t size, size_t *ret_used)
{
	size_t n = 0;
	int r;

	while (h->field != COMPLETE && n < size) {
		r = take(h, data[n]);
		if (r < 0)
			return r;
		if (h->field != CHECKSUM)
			h->crc = crc32_gzip_refl(h->crc, data + n, 1);
		n++;
		h->pos++;
		if (!r)
			continue;
		h->pos = 0;
		do
			h->field++;
		while (!has(h, (enum field)h->field));
	}
	*ret_used = n;
	return h->field == COMPLETE;
}
