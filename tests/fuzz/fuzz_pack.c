/* Parses a pack (the first 4 bytes say how much of the rest is its head) and opens each frame. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "format/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void open_frame(const struct pack *p, size_t i, const uint8_t *blob, size_t size)
{
	static uint8_t plain[PACK_FRAME_SIZE];
	struct pack_frame f;
	uint64_t pages = 0;

	pack_frame_get(p, i, &f);
	if (f.packed_size > size || f.off > size - f.packed_size || f.n_pages > PACK_FRAME_SIZE / PACK_PAGE)
		abort();
	for (size_t k = 0; k < f.n_runs; k++) {
		if (f.runs[k].layer >= pack_n_layers(p) || f.runs[k].first > LIMIT_LAYER_FILE_SIZE / PACK_PAGE)
			abort();
		pages += f.runs[k].n;
	}
	if (pages != f.n_pages)
		abort();
	pack_frame_open(&f, blob + f.off, f.packed_size, plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pack *p = NULL;
	uint32_t head_size;

	if (size < sizeof(head_size))
		return 0;
	memcpy(&head_size, data, sizeof(head_size));
	head_size = le32toh(head_size);
	data += sizeof(head_size);
	size -= sizeof(head_size);
	if (head_size > size || pack_parse(data, head_size, size, &p) < 0)
		return 0;
	for (size_t i = 0; i < pack_n_frames(p); i++)
		open_frame(p, i, data, size);
	pack_free(&p);
	return 0;
}
