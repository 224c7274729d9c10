/* The numbers as a fetcher that was taken over may have written them: the input is laid over the table in pieces (where,
 * how much); what is read from it lies inside. */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "cache/number_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int fd = -1;
static struct number_table *t;
static volatile uint32_t sink;

/* Four bytes say where, one how much of the rest; the first piece lies at the counts. */
static void scribble(const uint8_t *data, size_t size)
{
	uint32_t at = 0;

	while (size > 5) {
		size_t n = data[4] < size - 5 ? data[4] : size - 5;

		assert(pwrite(fd, data + 5, n, at) == (ssize_t)n);
		data += 5 + n;
		size -= 5 + n;
		if (size > 5)
			memcpy(&at, data, sizeof(at));
		at %= (uint32_t)(number_table_size() - 256);
	}
}

static void read_one(uint32_t number)
{
	const uint32_t *layers;
	const char *key;
	size_t n;

	if (number_table_layer(t, number, &key) == 0)
		assert(strnlen(key, LAYER_KEY_SIZE) < LAYER_KEY_SIZE);
	if (number_table_image(t, number, &key, &layers, &n) == 0) {
		assert(strnlen(key, IMAGE_KEY_SIZE) < IMAGE_KEY_SIZE && n <= LIMIT_LAYERS);
		for (size_t i = 0; i < n; i++)
			sink += layers[i];
	}
	key = number_table_image_key(t, number);
	assert(!key || strnlen(key, IMAGE_KEY_SIZE) < IMAGE_KEY_SIZE);
	sink += number_table_touched(t, number, (uint64_t)number << 20);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t numbers[] = {0, 1, 2, 3, 100, 1000, 32767, 32768, 65535, 65536, UINT32_MAX};
	uint32_t found;

	if (fd < 0)
		assert(number_table_create(&fd, &t) == 0);
	assert(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)number_table_size()) == 0);
	scribble(data, size);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		read_one(numbers[i]);
	read_one(number_table_n_layers(t));
	read_one(number_table_n_images(t));
	if (number_table_n_layers(t) < 64 && number_table_find_layer(t, "tar-a", &found) == 0)
		assert(found <= number_table_n_layers(t));
	if (number_table_n_images(t) < 64 && number_table_find_image(t, "a", &found) == 0)
		assert(found <= number_table_n_images(t));
	return 0;
}
