/* link_table: the link_facts of a layer's programs, libraries and scripts, so that what a start needs is known before the
 * bytes that say so are here.
 *
 * It only helps to guess: a wrong one costs bytes.
 *
 * Ownership  link_table_load() hands over a table that points into bytes of the caller's (a mapping), which must outlive
 *            it and all that it tells; link_table_free() ends it.
 * Units      Offsets in the file; a file is named by where it begins in the layer file.
 * Errors     -EBADMSG: a field points outside, or is not what it should be. -EFBIG: a limit. -ENOMEM. Bare.
 * Threads    Never changes after load.
 * Source     Byte layout: link_table.c.
 */
#pragma once

#include "base/bytes.h"
#include "format/link_facts.h"

struct link_table;

int link_table_load(const void *data, size_t size, struct link_table **ret);
void link_table_free(struct link_table **t);
size_t link_table_count(const struct link_table *t);

/* Whether there is something about the file; *ret is complete then. */
bool link_table_find(const struct link_table *t, uint64_t file_off, struct link_facts *ret);

/* Building: files in ascending order; from the limit on they are left out. The same bytes for the same files. */
struct link_table_builder {
	struct bytes files, loads, needed, texts;
	size_t n;
	uint64_t last_off;
};
int link_table_add(struct link_table_builder *b, uint64_t file_off, const struct link_facts *f);
int link_table_finish(struct link_table_builder *b, struct bytes *ret);
void link_table_builder_free(struct link_table_builder *b);
