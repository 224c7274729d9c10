/* Collects a sparse member's fragments from any of five notations, in order or not at all. */
#include "format/sparse_map.h"

#include <errno.h>
#include <stdlib.h>

#include "base/limits.h"
#include "format/tar_header.h"

void sparse_map_free(struct sparse_map *m)
{
	free(m->fragments);
	*m = (struct sparse_map){0};
}

void sparse_map_clear(struct sparse_map *m)
{
	*m = (struct sparse_map){.fragments = m->fragments, .capacity = m->capacity};
}

static int grow(struct sparse_map *m)
{
	size_t capacity = m->capacity ? 2 * m->capacity : 16;
	struct tar_fragment *f = reallocarray(m->fragments, capacity, sizeof(*f));

	if (!f)
		return -ENOMEM;
	m->fragments = f;
	m->capacity = capacity;
	return 0;
}

int sparse_map_offset(struct sparse_map *m, uint64_t offset)
{
	if (m->half || offset < m->end)
		return -EBADMSG;
	m->offset = offset;
	m->half = true;
	return 0;
}

int sparse_map_size(struct sparse_map *m, uint64_t size)
{
	int r;

	if (!m->half || __builtin_add_overflow(m->offset, size, &m->end) || m->end > INT64_MAX)
		return -EBADMSG;
	m->half = false;
	if (++m->n_entries > LIMIT_SPARSE_ENTRIES)
		return -EFBIG;
	if (!size)
		return 0;
	if (m->n_fragments == m->capacity) {
		r = grow(m);
		if (r < 0)
			return r;
	}
	m->fragments[m->n_fragments++] = (struct tar_fragment){m->offset, size, 0};
	m->data_size += size; /* no overflow: they do not overlap and end below 2^63 */
	return 0;
}

static int number_in_turn(struct sparse_map *m, uint64_t number)
{
	return m->half ? sparse_map_size(m, number) : sparse_map_offset(m, number);
}

/* One more digit of the number that is being read. */
static int digit(struct sparse_map *m, uint8_t c)
{
	if (c < '0' || c > '9' || m->n_digits == 18)
		return -EBADMSG;
	m->number = m->number * 10 + (uint64_t)(c - '0');
	m->n_digits++;
	return 0;
}

static int number_ends(struct sparse_map *m, uint64_t *ret)
{
	if (!m->n_digits)
		return -EBADMSG;
	*ret = m->number;
	m->number = 0;
	m->n_digits = 0;
	return 0;
}

int sparse_map_list(struct sparse_map *m, const char *text, size_t size)
{
	uint64_t number;
	int r;

	sparse_map_clear(m);
	for (size_t i = 0; i <= size; i++) {
		if (i < size && text[i] != ',') {
			r = digit(m, (uint8_t)text[i]);
		} else {
			r = number_ends(m, &number);
			if (r == 0)
				r = number_in_turn(m, number);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int line_ends(struct sparse_map *m)
{
	uint64_t number;
	int r;

	r = number_ends(m, &number);
	if (r < 0)
		return r;
	if (m->counted) {
		m->lines_left--;
		return number_in_turn(m, number);
	}
	if (number > LIMIT_SPARSE_ENTRIES)
		return -EFBIG;
	m->counted = true;
	m->lines_left = 2 * number;
	return 0;
}

int sparse_map_lines(struct sparse_map *m, const uint8_t *data, size_t size, size_t *ret_used)
{
	size_t n = 0;
	int r;

	while (n < size && !(m->counted && !m->lines_left)) {
		r = data[n] == '\n' ? line_ends(m) : digit(m, data[n]);
		if (r < 0)
			return r;
		n++;
	}
	*ret_used = n;
	return m->counted && !m->lines_left;
}

int sparse_map_entries(struct sparse_map *m, const uint8_t *entries, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const uint8_t *entry = entries + 24 * i;
		int64_t off, size;
		int r;

		if (!entry[0])
			return 0; /* ends the block's list, as GNU and BSD tar have it */
		if (tar_header_number(entry, 12, &off) < 0 ||
		    tar_header_number(entry + 12, 12, &size) < 0 || off < 0 || size < 0)
			return -EBADMSG;
		r = sparse_map_offset(m, (uint64_t)off);
		if (r == 0)
			r = sparse_map_size(m, (uint64_t)size);
		if (r < 0)
			return r;
	}
	return 0;
}

int sparse_map_place(struct sparse_map *m, uint64_t file_size, uint64_t body_off,
		     uint64_t body_size)
{
	if (m->half || m->end > file_size || m->data_size != body_size)
		return -EBADMSG;
	for (size_t i = 0; i < m->n_fragments; i++) {
		m->fragments[i].body_off = body_off;
		body_off += m->fragments[i].size;
	}
	return 0;
}
