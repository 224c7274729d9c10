/* read_on: who reads a layer one file after the other, or all of it, and asks for what follows.
 *
 * Ownership  A plain value for each layer, all zeros at first; borrows the rest.
 * Units      Bytes of the layer file.
 * Errors     None: what cannot be asked for is not.
 * Threads    The caller's.
 * Source     docs/design.md, "What is fetched before it is asked for".
 */
#pragma once

#include "fetch/fill.h"
#include "fetch/layer_files.h"

struct read_on {
	/* Spans read one after the other: */
	size_t first, end; /* the unit that was touched last; end 0: none was */
	size_t asked_to;
	unsigned int run; /* steps from one unit to the next */
	unsigned int n_files; /* begun meanwhile, each behind the one before */
	uint64_t off; /* where it began */
	uint64_t last, last_end; /* the last touch, and the end of the file there */
	/* All of the layer: */
	unsigned int n_whole; /* directories that were read as a whole */
	size_t rest, n_rest; /* spans from here on, around the end, that are still to be asked for */
};

/* A touch at `off`, in that file or (NULL) in none. Of a `large` one its own spans are looked at: who reads on in it does
 * not read on behind it. */
void read_on_touch(struct read_on *o, struct fill *fill, struct layer_store *layer, uint32_t number,
		   const struct layer_file *file, uint64_t off, bool large);

/* The last file of a directory was touched, at `off`: after some of them the rest of the layer follows. */
void read_on_whole(struct read_on *o, const struct layer_store *layer, uint64_t off);
bool read_on_reads_all(const struct read_on *o);

/* Asks for as much of that as there is room for. */
void read_on_rest(struct read_on *o, struct fill *fill, struct layer_store *layer, uint32_t number);
