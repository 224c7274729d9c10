/* Byte layout, little-endian:
 *     8  magic "lazyPro1"
 *    32  sha256 of everything behind this field
 *     4  layers
 *     4  runs
 *    16  each layer: the UUID of its index
 *    16  each run: u32 layer, u32 pages, u64 first page
 */
#include "format/profile.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"

#define MAGIC "lazyPro1"
#define CHECK_OFF 8u
#define CHECK_SIZE 32u
#define CHECKED_OFF (CHECK_OFF + CHECK_SIZE)
#define LAST_PAGE (LIMIT_LAYER_FILE_SIZE / 4096 - 1)

struct disk_run {
	uint32_t layer, n;
	uint64_t first;
};

static_assert(sizeof(struct disk_run) == 16, "as it lies in the file");

int profile_new(size_t n_layers, struct profile **ret)
{
	_cleanup_(profile_free) struct profile *p = calloc(1, sizeof(*p));

	assert(n_layers <= LIMIT_LAYERS);
	if (!p)
		return -ENOMEM;
	p->n_layers = n_layers;
	p->layers = calloc(n_layers + 1, sizeof(*p->layers));
	p->runs = calloc(LIMIT_PROFILE_RUNS, sizeof(*p->runs));
	if (!p->layers || !p->runs)
		return -ENOMEM;
	*ret = TAKE(p);
	return 0;
}

void profile_free(struct profile **profile)
{
	struct profile *p = *profile;

	if (!p)
		return;
	free(p->layers);
	free(p->runs);
	free(p);
	*profile = NULL;
}

int profile_add(struct profile *p, uint32_t layer, uint64_t first, uint32_t n)
{
	assert(layer < p->n_layers && n > 0 && n <= PROFILE_RUN_PAGES && first <= LAST_PAGE);
	if (p->n_runs == LIMIT_PROFILE_RUNS)
		return -EFBIG;
	p->runs[p->n_runs++] = (struct profile_run){layer, n, first};
	return 0;
}

static int parse_run(struct cursor *c, struct profile *p)
{
	uint32_t layer = 0, n = 0;
	uint64_t first = 0;

	if (cursor_u32(c, &layer) < 0 || cursor_u32(c, &n) < 0 || cursor_u64(c, &first) < 0)
		return -EBADMSG;
	if (layer >= p->n_layers || n == 0 || n > PROFILE_RUN_PAGES || first > LAST_PAGE)
		return -EBADMSG;
	return profile_add(p, layer, first, n);
}

int profile_parse(const void *data, size_t size, struct profile **ret)
{
	_cleanup_(profile_free) struct profile *p = NULL;
	struct cursor c = {.data = data, .size = size};
	uint32_t n_layers = 0, n_runs = 0;
	const uint8_t *magic, *check, *uuid;
	struct digest got;
	int r;

	if (cursor_take(&c, CHECK_OFF, &magic) < 0 || memcmp(magic, MAGIC, CHECK_OFF) != 0 ||
	    cursor_take(&c, CHECK_SIZE, &check) < 0)
		return -EBADMSG;
	hash_bytes(c.data + c.pos, c.size - c.pos, &got);
	if (memcmp(got.bytes, check, CHECK_SIZE) != 0 || cursor_u32(&c, &n_layers) < 0 || cursor_u32(&c, &n_runs) < 0)
		return -EBADMSG;
	if (n_layers > LIMIT_LAYERS || n_runs > LIMIT_PROFILE_RUNS)
		return -EFBIG;
	/* The size is known now: one that is longer or shorter is none. */
	if (c.size - c.pos != n_layers * (size_t)PROFILE_UUID_SIZE + n_runs * sizeof(struct disk_run))
		return -EBADMSG;
	r = profile_new(n_layers, &p);
	for (size_t i = 0; r == 0 && i < n_layers; i++) {
		r = cursor_take(&c, PROFILE_UUID_SIZE, &uuid);
		if (r == 0)
			memcpy(p->layers[i], uuid, PROFILE_UUID_SIZE);
	}
	for (size_t i = 0; r == 0 && i < n_runs; i++)
		r = parse_run(&c, p);
	if (r < 0)
		return r;
	*ret = TAKE(p);
	return 0;
}

int profile_write(const struct profile *p, struct bytes *ret)
{
	const uint32_t counts[2] = {htole32((uint32_t)p->n_layers), htole32((uint32_t)p->n_runs)};
	const uint8_t zeros[CHECK_SIZE] = {0};
	_cleanup_(bytes_free) struct bytes b = {0};
	struct digest check;
	int r = bytes_append(&b, MAGIC, CHECK_OFF);

	if (r == 0)
		r = bytes_append(&b, zeros, CHECK_SIZE);
	if (r == 0)
		r = bytes_append(&b, counts, sizeof(counts));
	if (r == 0)
		r = bytes_append(&b, p->layers, p->n_layers * PROFILE_UUID_SIZE);
	for (size_t i = 0; r == 0 && i < p->n_runs; i++) {
		const struct profile_run *run = &p->runs[i];
		const struct disk_run d = {htole32(run->layer), htole32(run->n), htole64(run->first)};

		r = bytes_append(&b, &d, sizeof(d));
	}
	if (r < 0)
		return r;
	hash_bytes(b.data + CHECKED_OFF, b.size - CHECKED_OFF, &check);
	memcpy(b.data + CHECK_OFF, check.bytes, CHECK_SIZE);
	*ret = b;
	b = (struct bytes){0};
	return 0;
}
