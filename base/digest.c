/* The grammar is matched in full before anything is used as a file name (CVE-2024-3727). */
#include "base/digest.h"

#include <errno.h>
#include <string.h>

static const struct {
	const char *name;
	size_t size;
} algorithms[] = {
	[DIGEST_NONE] = {"none", 0},
	[DIGEST_SHA256] = {"sha256", 32},
	[DIGEST_SHA512] = {"sha512", 64},
};

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int digest_parse(const char *text, size_t size, struct digest *ret)
{
	const char *colon = memchr(text, ':', size);
	struct digest d = {0};
	const char *hex;

	if (!colon || colon == text)
		return -EINVAL;
	for (uint8_t a = DIGEST_SHA256; a <= DIGEST_SHA512; a++)
		if ((size_t)(colon - text) == strlen(algorithms[a].name) &&
		    memcmp(text, algorithms[a].name, (size_t)(colon - text)) == 0)
			d.algorithm = a;
	if (d.algorithm == DIGEST_NONE)
		return -EOPNOTSUPP;
	hex = colon + 1;
	if (size - (size_t)(hex - text) != 2 * digest_size(&d))
		return -EINVAL;
	for (size_t i = 0; i < digest_size(&d); i++) {
		int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		d.bytes[i] = (uint8_t)(high << 4 | low);
	}
	*ret = d;
	return 0;
}

const char *digest_hex(const struct digest *d, char out[static DIGEST_HEX_MAX + 1])
{
	static const char digits[] = "0123456789abcdef";
	size_t n = digest_size(d);

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[d->bytes[i] >> 4];
		out[2 * i + 1] = digits[d->bytes[i] & 15];
	}
	out[2 * n] = '\0';
	return out;
}

const char *digest_text(const struct digest *d, char out[static DIGEST_TEXT_MAX])
{
	const char *name = digest_algorithm_name(d);
	size_t n = strlen(name);

	memcpy(out, name, n);
	out[n] = ':';
	digest_hex(d, out + n + 1);
	return out;
}

const char *digest_algorithm_name(const struct digest *d)
{
	return algorithms[d->algorithm].name;
}

size_t digest_size(const struct digest *d)
{
	return algorithms[d->algorithm].size;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}
