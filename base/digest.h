/* digest: content digests as the OCI image-spec writes them ("sha256:<hex>"), and their comparison.
 *
 * Ownership  A plain value. Unused bytes are zero, so digests compare by memcmp.
 * Units      -
 * Errors     -EINVAL: the text breaks the grammar. -EOPNOTSUPP: an algorithm we do not have.
 *            Both bare: the caller knows what the text belongs to.
 * Threads    A plain value.
 * Source     image-spec descriptor.md, "Digests".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum digest_algorithm {
	DIGEST_NONE,
	DIGEST_SHA256,
	DIGEST_SHA512,
};

struct digest {
	uint8_t algorithm; /* enum digest_algorithm */
	uint8_t bytes[64]; /* 32 used for sha256 */
};

#define DIGEST_HEX_MAX 128
#define DIGEST_TEXT_MAX (7 + DIGEST_HEX_MAX + 1) /* with the NUL */

/* Exactly "sha256:" and 64, or "sha512:" and 128 lower-case hex digits; `size` bytes, no NUL needed. */
int digest_parse(const char *text, size_t size, struct digest *ret);

/* Writes the text with its NUL; returns `out`. */
const char *digest_text(const struct digest *d, char out[static DIGEST_TEXT_MAX]);

/* The hex digits alone (a file name in the store), with the NUL; returns `out`. */
const char *digest_hex(const struct digest *d, char out[static DIGEST_HEX_MAX + 1]);
const char *digest_algorithm_name(const struct digest *d);
size_t digest_size(const struct digest *d);
bool digest_equal(const struct digest *a, const struct digest *b);
