/* Files of an image, in which names are looked for. */
#include <stdlib.h>

#include "fetch/mentions.h"

static struct mentions found;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	mentions_read(data, size, &found);
	for (size_t i = 0; i < found.n; i++)
		if (!mentions_has(&found, found.names[i]))
			abort();
	return 0;
}
