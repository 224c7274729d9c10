/* A start's profile, as a crash, a disk or a hand may have left it: as it is, and with its digest made right. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "format/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const uint8_t *data, size_t size)
{
	_cleanup_(profile_free) struct profile *p = NULL;
	_cleanup_(bytes_free) struct bytes again = {0};

	if (profile_parse(data, size, &p) < 0)
		return;
	assert(p->n_layers <= LIMIT_LAYERS && p->n_runs <= LIMIT_PROFILE_RUNS);
	for (size_t i = 0; i < p->n_runs; i++)
		assert(p->runs[i].layer < p->n_layers && p->runs[i].n > 0 && p->runs[i].n <= PROFILE_RUN_PAGES &&
		       p->runs[i].first < LIMIT_LAYER_FILE_SIZE / 4096);
	assert(profile_write(p, &again) == 0 && again.size == size && memcmp(again.data, data, size) == 0);
	assert(size <= PROFILE_SIZE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(bytes_free) struct bytes sealed = {0};
	struct digest d;

	parse(data, size);
	if (size < 40 || bytes_append(&sealed, data, size) < 0)
		return 0;
	hash_bytes(data + 40, size - 40, &d);
	memcpy(sealed.data + 8, d.bytes, 32);
	parse(sealed.data, sealed.size);
	return 0;
}
