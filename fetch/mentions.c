/* One pass over runs of the bytes that names are made of. */
#include "fetch/mentions.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/layer_files.h"

#define NAME_MIN 2u
#define NAME_MAX_SIZE 64u

static bool is_of_name(uint8_t c)
{
	return isalnum(c) || c == '_' || c == '-';
}

static bool is_quote(uint8_t c)
{
	return c == '\'' || c == '"';
}

/* Of a path in quotes "../a/b.js" each part. */
static bool is_quoted(const uint8_t *data, size_t size, size_t from, size_t to)
{
	return from > 0 && to < size && (is_quote(data[from - 1]) || data[from - 1] == '/') &&
	       (is_quote(data[to]) || data[to] == '/' || data[to] == '.');
}

/* What stands behind a counted text may look like more of it. */
static size_t counted(const uint8_t *data, size_t from, size_t to)
{
	size_t n = from > 0 ? data[from - 1] : 0;

	return n >= NAME_MIN && n <= NAME_MAX_SIZE && n <= to - from ? n : 0;
}

static void add(struct mentions *m, const uint8_t *name, size_t size)
{
	if (m->n < MENTIONS_MAX)
		m->names[m->n++] = layer_files_hash(name, size);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

void mentions_read(const void *bytes, size_t size, struct mentions *ret)
{
	const uint8_t *data = bytes;

	ret->n = 0;
	for (size_t from = 0, to; from < size; from = to + 1) {
		size_t n;

		for (to = from; to < size && is_of_name(data[to]); to++)
			;
		if (to - from < NAME_MIN)
			continue;
		n = counted(data, from, to);
		if (n)
			add(ret, data + from, n);
		else if (to - from <= NAME_MAX_SIZE && is_quoted(data, size, from, to))
			add(ret, data + from, to - from);
	}
	qsort(ret->names, ret->n, sizeof(*ret->names), by_value);
}

bool mentions_has(const struct mentions *m, uint32_t name)
{
	return bsearch(&name, m->names, m->n, sizeof(*m->names), by_value);
}
