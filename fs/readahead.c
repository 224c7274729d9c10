/* A mark for each 512 bytes, in which no two pages of files begin (the layer index's blocks). */
#include "fs/readahead.h"

#include <fcntl.h>
#include <stdlib.h>

#include "format/erofs_format.h"

/* A READ past the page cache says whose locks count, and its error is a program's. */
bool readahead_is(const struct fuse_file_info *fi, size_t size)
{
	return fi->lock_owner == 0 && !(fi->flags & O_DIRECT) && size > LAYER_PAGE && size <= READAHEAD_MAX;
}

/* A byte for each page of the layer file; NULL: no memory. */
static _Atomic uint8_t *marks_of(struct image_view_layer *l)
{
	_Atomic uint8_t *marks = atomic_load(&l->refused), *made;

	if (marks)
		return marks;
	made = calloc(layer_store_size(l->store) / LAYER_PAGE + 1, 1);
	if (made && !atomic_compare_exchange_strong(&l->refused, &marks, made)) {
		free(made);
		return marks;
	}
	return made;
}

bool readahead_refuse(struct image_view_layer *l, uint64_t off, size_t size)
{
	const uint8_t mark = (uint8_t)(1u << (off % LAYER_PAGE / EROFS_BLOCK));
	_Atomic uint8_t *marks = marks_of(l);

	if (!marks || off >= layer_store_size(l->store) || size > layer_store_size(l->store) - off ||
	    atomic_load_explicit(&marks[off / LAYER_PAGE], memory_order_relaxed) & mark)
		return false;
	for (uint64_t at = off; at < off + size; at += LAYER_PAGE)
		atomic_fetch_or_explicit(&marks[at / LAYER_PAGE], mark, memory_order_relaxed);
	return true;
}

void readahead_forget(struct image_view_layer *l)
{
	_Atomic uint8_t *marks = atomic_load(&l->refused);

	for (uint64_t at = 0; marks && at <= layer_store_size(l->store) / LAYER_PAGE; at++)
		if (atomic_load_explicit(&marks[at], memory_order_relaxed)) /* what was never written needs no memory */
			atomic_store_explicit(&marks[at], 0, memory_order_relaxed);
}
