/* sparse_map: which bytes of a sparse member lie in its body, in all of GNU tar's ways to say it.
 *
 * Ownership  sparse_map_free() ends it; an all-zero struct is a valid empty one.
 * Units      Offsets count bytes of the expanded file, fragments' body_off of the stream.
 * Errors     -EBADMSG: not a map, out of order, overlapping, outside the file or the body. -EFBIG:
 *            more than LIMIT_SPARSE_ENTRIES. -ENOMEM. All bare: the caller knows the member.
 * Threads    A plain value.
 * Source     GNU tar manual, "Storing Sparse Files", and "Old GNU Format".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/tar.h"

struct sparse_map {
	struct tar_fragment *fragments; /* empty ones are left out */
	size_t n_fragments, capacity;
	size_t n_entries;    /* empty ones counted */
	uint64_t end;	     /* of the last entry */
	uint64_t data_size;  /* of all fragments */
	uint64_t offset;     /* of an entry whose size is still to come */
	bool half;	     /* there is such an entry */
	bool counted;	     /* lines: the first line, the number of entries, was read */
	uint64_t lines_left; /* lines: numbers still to come */
	uint64_t number;     /* lines: the number that is being read */
	unsigned int n_digits;
};

void sparse_map_free(struct sparse_map *m);

/* Back to empty; memory is kept. */
void sparse_map_clear(struct sparse_map *m);

/* pax 0.0: offsets and sizes come as numbers in turn. */
int sparse_map_offset(struct sparse_map *m, uint64_t offset);
int sparse_map_size(struct sparse_map *m, uint64_t size);

/* pax 0.1: "offset,size,offset,size" */
int sparse_map_list(struct sparse_map *m, const char *text, size_t size);

/* pax 1.0: decimal lines at the start of the body, in pieces of any size. *ret_used says how much
 * was taken. Returns 1 when the map is complete. */
int sparse_map_lines(struct sparse_map *m, const uint8_t *data, size_t size, size_t *ret_used);

/* Old GNU: `n` entries of 24 bytes from a header block. */
int sparse_map_entries(struct sparse_map *m, const uint8_t *entries, size_t n);

/* Checks the whole against the file's size and the body's, and gives each fragment its place. */
int sparse_map_place(struct sparse_map *m, uint64_t file_size, uint64_t body_off, uint64_t body_size);
