/* names: which digest an image's name meant when it was last asked.
 *
 * Ownership  Entries are plain values; names_list() hands over an array freed with free().
 * Units      `checked` counts seconds since 1970.
 * Errors     -ENOENT: never asked (bare). Others reported.
 * Threads    Any.
 * Source     docs/design.md, "The cache".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/limits.h"
#include "cache/store.h"

struct name_entry {
	char reference[LIMIT_PATH_SIZE + 512]; /* canonical text */
	char platform[128];
	struct digest digest;	/* of what the name names: an index or a manifest */
	struct digest manifest; /* of the image itself */
	int64_t checked;
};

int names_get(const struct store *s, const char *reference, const char *platform, struct name_entry *ret);
int names_put(const struct store *s, const struct name_entry *e);
int names_remove(const struct store *s, const struct name_entry *e);

/* All entries, by reference. A damaged one is passed over. */
int names_list(const struct store *s, struct name_entry **ret, size_t *ret_n);

/* Whether a file of <store>/names is whole and says what its name says. -EBADMSG: not; -ENOENT: gone. Bare. */
int names_check(const struct store *s, const char *file);
