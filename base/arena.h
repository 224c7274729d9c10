/* arena: memory for many small things that all end together.
 *
 * Ownership  arena_free() gives everything back to the kernel at once; an all-zero struct is a valid
 *            empty one.
 * Units      Bytes.
 * Errors     NULL: out of memory.
 * Threads    One thread at a time.
 * Source     -
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct arena {
	struct arena_chunk *chunks; /* newest first, the one that is being filled */
	size_t used;		    /* of the newest */
	uint64_t total;		    /* handed out so far */
};

void arena_free(struct arena *a);

/* Zeroed, at a multiple of 8. */
void *arena_alloc(struct arena *a, size_t size);
