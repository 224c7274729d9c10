/* mentions: which names a file has as whole texts: what it imports, requires or includes is probably among them.
 *
 * A text is quoted ('x', "x", parts of a path in quotes too) or has its length as the byte before it (Python's .pyc).
 *
 * Ownership  Plain values.
 * Units      Names as layer_files_hash() has them.
 * Errors     None. Of too many names the first are kept.
 * Threads    Any.
 * Source     docs/design.md, "What is fetched before it is asked for".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MENTIONS_MAX 4096u

struct mentions {
	size_t n;
	uint32_t names[MENTIONS_MAX]; /* sorted */
};

void mentions_read(const void *data, size_t size, struct mentions *ret);
bool mentions_has(const struct mentions *m, uint32_t name);
