/* One bit a span. */
#include "cache/span_map.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/fd.h"

struct span_map {
	const struct span_table *table;
	_Atomic uint64_t words[];
};

int span_map_new(const struct span_table *t, const struct have_map *have, struct span_map **ret)
{
	size_t n = span_table_count(t);
	struct span_map *m = calloc(1, sizeof(*m) + (n / 64 + 1) * sizeof(m->words[0]));

	if (!m)
		return -ENOMEM;
	m->table = t;
	for (size_t i = 0; i < n; i++) {
		struct span s;

		span_table_get(t, i, &s);
		if (have_map_test(have, s.off, s.size))
			span_map_set(m, i);
	}
	*ret = m;
	return 0;
}

void span_map_free(struct span_map **m)
{
	free(*m);
	*m = NULL;
}

bool span_map_has(const struct span_map *m, size_t span)
{
	return atomic_load(&m->words[span / 64]) >> (span % 64) & 1;
}

void span_map_set(struct span_map *m, size_t span)
{
	atomic_fetch_or(&m->words[span / 64], UINT64_C(1) << (span % 64));
}

void span_map_clear(struct span_map *m, uint64_t off, uint64_t size)
{
	struct span s;
	size_t i;

	if (span_table_at(m->table, off, &i) < 0)
		return;
	for (; i < span_table_count(m->table); i++) {
		span_table_get(m->table, i, &s);
		if (s.off >= off + size)
			return;
		atomic_fetch_and(&m->words[i / 64], ~(UINT64_C(1) << (i % 64)));
	}
}

bool span_map_covers(const struct span_map *m, uint64_t off, uint64_t size)
{
	struct span s;
	size_t i;

	if (span_table_at(m->table, off, &i) < 0)
		return true;
	for (; i < span_table_count(m->table); i++) {
		span_table_get(m->table, i, &s);
		if (s.off >= off + size)
			return true;
		if (!span_map_has(m, i))
			return false;
	}
	return true;
}
