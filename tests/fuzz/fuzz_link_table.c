/* Link tables; and what is read from the bytes of a program. What a table gives for a file makes the same table again. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "format/link_table.h"
#include "tests/unit/program_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct link_facts *f)
{
	_cleanup_(link_table_builder_free) struct link_table_builder b = {0};
	_cleanup_(link_table_free) struct link_table *t = NULL;
	_cleanup_(bytes_free) struct bytes out = {0};
	struct link_facts again;

	assert(link_table_add(&b, 7, f) == 0 && link_table_finish(&b, &out) == 0);
	assert(link_table_load(out.data, out.size, &t) == 0 && link_table_find(t, 7, &again));
	assert(again.n_needed == f->n_needed && again.n_paths == f->n_paths && again.head.n_loads == f->head.n_loads);
	for (size_t i = 0; i < f->n_needed; i++)
		assert(strlen(f->needed[i]) <= LINK_NAME_MAX && strcmp(again.needed[i], f->needed[i]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(link_table_free) struct link_table *t = NULL;
	struct bytes file = {.data = (uint8_t *)data, .size = size};
	struct link_facts f;

	if (link_table_load(data, size, &t) == 0)
		for (size_t i = 0; i < link_table_count(t) && i < 64; i++) {
			uint64_t off;

			memcpy(&off, data + 24 + 56 * i, sizeof(off));
			assert(link_table_find(t, off, &f));
			check(&f);
		}
	if (link_facts_head(read_bytes, &file, &f) < 0)
		return 0;
	if (link_facts_dynamic(read_bytes, &file, &f) == 0)
		(void)link_facts_names(read_bytes, &file, &f);
	check(&f);
	return 0;
}
