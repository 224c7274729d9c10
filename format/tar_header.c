/* Reads the fixed fields of a tar header: texts, octal and base-256 numbers, the checksum. */
#include "format/tar_header.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/report.h"

/* Offsets in the block. */
enum {
	NAME = 0,
	MODE = 100,
	UID = 108,
	GID = 116,
	SIZE = 124,
	MTIME = 136,
	CHECKSUM = 148,
	TYPE = 156,
	LINK = 157,
	MAGIC = 257,
	UNAME = 265,
	GNAME = 297,
	MAJOR = 329,
	MINOR = 337,
	PREFIX = 345,
	STAR_MAGIC = 508,
};

static int base_256(const uint8_t *field, size_t size, int64_t *ret)
{
	uint8_t invert = field[0] & 0x40 ? 0xff : 0; /* two's complement; bit 7 is only the mark */
	uint64_t x = 0;

	for (size_t i = 0; i < size; i++) {
		uint8_t c = (uint8_t)(field[i] ^ invert);

		if (i == 0)
			c &= 0x7f;
		if (x >> 56)
			return -EBADMSG;
		x = x << 8 | c;
	}
	if (x > INT64_MAX)
		return -EBADMSG;
	*ret = invert ? (int64_t)~x : (int64_t)x;
	return 0;
}

int tar_header_number(const uint8_t *field, size_t size, int64_t *ret)
{
	uint64_t x = 0;
	size_t i = 0;

	if (field[0] & 0x80)
		return base_256(field, size, ret);
	while (i < size && (field[i] == ' ' || !field[i]))
		i++;
	while (size > i && (field[size - 1] == ' ' || !field[size - 1]))
		size--;
	for (; i < size && field[i]; i++) {
		if (field[i] < '0' || field[i] > '7')
			return -EBADMSG;
		x = x << 3 | (uint64_t)(field[i] - '0'); /* at most 12 digits */
	}
	*ret = (int64_t)x;
	return 0;
}

int tar_header_check(const uint8_t *block)
{
	uint32_t plain = 0, sign = 0;
	int64_t want;

	/* The field itself counts as spaces. Some old tars summed signed bytes. */
	for (size_t i = 0; i < TAR_HEADER_SIZE; i++) {
		plain += block[i];
		sign += block[i] >> 7;
	}
	if (!plain)
		return 0;
	for (size_t i = CHECKSUM; i < CHECKSUM + 8; i++) {
		plain += ' ' - (uint32_t)block[i];
		sign -= block[i] >> 7;
	}
	if (tar_header_number(block + CHECKSUM, 8, &want) < 0)
		return -EBADMSG;
	return want == (int64_t)plain || want == (int64_t)plain - 256 * (int64_t)sign ? 1
										      : -EBADMSG;
}

static enum tar_header_format format_of(const uint8_t *block)
{
	if (!memcmp(block + MAGIC, "ustar\0", 6))
		return memcmp(block + STAR_MAGIC, "tar\0", 4) ? TAR_HEADER_USTAR : TAR_HEADER_STAR;
	return memcmp(block + MAGIC, "ustar  \0", 8) ? TAR_HEADER_V7 : TAR_HEADER_GNU;
}

static void copy_text(const uint8_t *field, size_t size, char *to)
{
	size_t n = strnlen((const char *)field, size);

	memcpy(to, field, n);
	to[n] = '\0';
}

static void read_path(const uint8_t *block, struct tar_header *h)
{
	size_t n = 0;

	if (h->format == TAR_HEADER_USTAR || h->format == TAR_HEADER_STAR) {
		/* star keeps two times behind a shorter prefix. */
		copy_text(block + PREFIX, h->format == TAR_HEADER_STAR ? 131 : 155, h->path);
		n = strlen(h->path);
		if (n)
			h->path[n++] = '/';
	}
	copy_text(block + NAME, 100, h->path + n);
}

int tar_header_read(const uint8_t *block, struct tar_header *ret)
{
	struct tar_header h;
	bool device = block[TYPE] == '3' || block[TYPE] == '4';
	int64_t size;
	const struct {
		const char *name;
		int64_t *to;
		size_t off, size;
	} numbers[] = {
		{"mode", &h.mode, MODE, 8},
		{"uid", &h.uid, UID, 8},
		{"gid", &h.gid, GID, 8},
		{"size", &size, SIZE, 12},
		{"mtime", &h.mtime, MTIME, 12},
		{"device number", &h.major, MAJOR, 8},
		{"device number", &h.minor, MINOR, 8},
	};

	h.format = format_of(block);
	h.type = (char)block[TYPE];
	h.major = h.minor = 0;
	read_path(block, &h);
	copy_text(block + LINK, 100, h.link);
	copy_text(block + UNAME, h.format == TAR_HEADER_V7 ? 0 : 32, h.uname);
	copy_text(block + GNAME, h.format == TAR_HEADER_V7 ? 0 : 32, h.gname);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (numbers[i].off >= MAJOR && (!device || h.format == TAR_HEADER_V7))
			continue;
		if (tar_header_number(block + numbers[i].off, numbers[i].size, numbers[i].to) < 0)
			return fail(EBADMSG, "member %.200s: its %s is not a number", h.path,
				    numbers[i].name);
	}
	if (size < 0)
		return fail(EBADMSG, "member %.200s: its size is negative", h.path);
	h.size = (uint64_t)size;
	*ret = h;
	return 0;
}
