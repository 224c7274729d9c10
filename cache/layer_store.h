/* layer_store: one layer on disk: its index, span table, data file and have-map.
 *
 * Ownership  layer_store_open() hands over one reference, layer_store_again() another; layer_store_free()
 *            gives one back, the last one closes the layer.
 * Units      Bytes of the layer file; pages of 4096.
 * Errors     -ENOENT: no such layer (bare). -EBADMSG: a file of it is short or wrong; the layer is
 *            marked bad (reported). -EAGAIN from layer_store_read(): bytes are not here yet (bare).
 * Threads    Any thread reads. Bits are set by the fetcher after the bytes, cleared by the evictor
 *            before the punch; the epoch makes a reader that meets the evictor start over. Syncing and
 *            evicting exclude each other by a lock on the layer's directory, between processes too.
 * Source     docs/design.md, "The cache"; KERNEL.md H.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/number_table.h"
#include "cache/store.h"
#include "format/erofs_read.h"
#include "format/link_table.h"
#include "format/span_table.h"

#define LAYER_PAGE 4096u

struct layer_store;

int layer_store_open(const struct store *s, const char *layer_key, bool writable, struct layer_store **ret);
struct layer_store *layer_store_again(struct layer_store *l);
void layer_store_free(struct layer_store **l);

/* Whether it was found to be damaged: it is not opened again, but made anew. */
bool layer_store_is_bad(const struct store *s, const char *layer_key);

/* Whether its files are as long as when they were opened. If not, it is marked bad (reported). */
bool layer_store_is_whole(const struct store *s, const struct layer_store *l);

const char *layer_store_key(const struct layer_store *l);
const struct erofs_read *layer_store_index(const struct layer_store *l);
const struct span_table *layer_store_spans(const struct layer_store *l);
uint64_t layer_store_size(const struct layer_store *l); /* of the layer file */

/* What its programs load, for who fills it; NULL: nobody said. */
const struct link_table *layer_store_links(const struct layer_store *l);
#define LAYER_STORE_LINKS_FILE "links"

/* Reads bytes that must all lie inside the layer file. -EAGAIN: at least one page is missing. */
int layer_store_read(const struct layer_store *l, void *data, size_t size, uint64_t off);

/* Whether all pages that touch the range are here. */
bool layer_store_present(const struct layer_store *l, uint64_t off, uint64_t size);
uint64_t layer_store_bytes_present(const struct layer_store *l);

/* Writes verified bytes of whole pages (or up to the end of the file), then sets their bits. */
int layer_store_put(struct layer_store *l, const void *data, uint64_t size, uint64_t off);

/* The same of one span's verified bytes, by its number; of a foreign table too, where spans share pages. */
int layer_store_put_span(struct layer_store *l, size_t span, const void *data);

/* Whether a span's bytes are in the file. Of a foreign table its pages may still wait for other spans. */
bool layer_store_has_span(const struct layer_store *l, size_t span);

/* Evicts all pages that the ranges touch: have.synced stops to vouch for them, then each range's bits are cleared, the
 * epoch raised, the range punched. */
struct layer_range {
	uint64_t off, size;
};
int layer_store_punch(struct layer_store *l, const struct layer_range *ranges, size_t n);

/* Puts all that is here on the disk for good, and says so in have.synced. 1: done; 0: it was so already. Bare. */
int layer_store_sync(const struct store *s, struct layer_store *l);

/* Whoever finds it damaged says so (reported, -EBADMSG): it is not opened again, but made anew. */
int layer_store_mark_bad(const struct store *s, const char *layer_key);

/* A bad one whose table was found not to be what its image says: made anew from the same table it would be again. The
 * mark goes with the layer, which `gc` removes. */
int layer_store_mark_lie(const struct store *s, const char *layer_key);
bool layer_store_is_lie(const struct store *s, const char *layer_key);
