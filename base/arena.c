/* Chunks are mappings of their own, so that nothing of a finished layer stays in the heap. */
#include "base/arena.h"

#include <sys/mman.h>

#define CHUNK_SIZE ((size_t)1 << 20)

struct arena_chunk {
	struct arena_chunk *next;
	size_t size; /* of the mapping, this struct included */
};

void arena_free(struct arena *a)
{
	while (a->chunks) {
		struct arena_chunk *chunk = a->chunks;

		a->chunks = chunk->next;
		munmap(chunk, chunk->size);
	}
	*a = (struct arena){0};
}

static struct arena_chunk *chunk_new(size_t size)
{
	struct arena_chunk *chunk;

	if (size < CHUNK_SIZE)
		size = CHUNK_SIZE;
	chunk = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (chunk == MAP_FAILED)
		return NULL;
	chunk->size = size;
	return chunk;
}

void *arena_alloc(struct arena *a, size_t size)
{
	void *at;

	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + 7) & ~(size_t)7;
	if (!a->chunks || size > a->chunks->size - a->used) {
		struct arena_chunk *chunk = chunk_new(sizeof(*chunk) + size);

		if (!chunk)
			return NULL;
		chunk->next = a->chunks;
		a->chunks = chunk;
		a->used = sizeof(*chunk);
	}
	at = (char *)a->chunks + a->used;
	a->used += size;
	a->total += size;
	return at;
}
