/* have.synced, as a crash may leave it. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/have_map.h"
#include "cache/have_synced.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct have_synced *h = NULL;

	if (have_synced_parse(data, size, &h) < 0)
		return 0;
	assert(have_map_n_words(h->n_pages) * 8 + 112 == size);
	have_map_clear_words(h->words, 0, h->n_pages * 4096);
	have_synced_free(&h);
	return 0;
}
