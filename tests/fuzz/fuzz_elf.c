/* Heads, dynamic sections and library caches. The first byte says which class the dynamic section is of. */
#include <stdlib.h>
#include <string.h>

#include "format/elf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct elf_head h = {0};
	struct elf_dynamic d;
	const char *path;

	if (elf_parse_head(data, size, &h) == 0 && h.dynamic.off <= size && h.dynamic.size <= size - h.dynamic.off)
		elf_parse_dynamic(&h, data + h.dynamic.off, (size_t)h.dynamic.size, &d);
	if (size > 0) {
		h.is_64 = data[0] & 1;
		elf_parse_dynamic(&h, data + 1, size - 1, &d);
	}
	path = elf_cache_find(data, size, "libc.so.6");
	if (path && strlen(path) > size)
		abort();
	return 0;
}
