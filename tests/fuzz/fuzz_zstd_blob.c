/* A blob of an artifact: exactly one frame, as long as it says; and what is packed comes back. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "format/zstd_blob.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PLAIN_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t plain_size;
	uint8_t *plain;

	if (zstd_blob_size(data, size, PLAIN_MAX, &plain_size) == 0) {
		struct bytes again = {0};

		plain = malloc(plain_size ? plain_size : 1);
		assert(plain && plain_size <= PLAIN_MAX);
		if (zstd_blob_unpack(data, size, plain, plain_size) == 0 && plain_size < 4096 &&
		    zstd_blob_pack(plain, plain_size, &again) == 0) {
			uint8_t *second = malloc(plain_size ? plain_size : 1);
			size_t n;

			assert(second && zstd_blob_size(again.data, again.size, PLAIN_MAX, &n) == 0 && n == plain_size);
			assert(zstd_blob_unpack(again.data, again.size, second, n) == 0 && memcmp(plain, second, n) == 0);
			free(second);
		}
		bytes_free(&again);
		free(plain);
	}
	return 0;
}
