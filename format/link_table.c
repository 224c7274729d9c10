/* Checked as a whole when it is loaded; then files are found by binary search in its bytes.
 *
 * Byte layout, little-endian:
 *     8  magic "lrlinks1"
 *     4  files
 *     4  segments
 *     4  names
 *     4  bytes of texts
 *    56  each file, ascending:
 *           8  off          where it begins in the layer file
 *           8  unwind_off
 *           8  unwind_size
 *           8  tables_end
 *           4  interpreter  a text; 0: none
 *           4  run_path     a text; 0: none
 *           4  first of its segments
 *           4  first of its names
 *           1  how many segments
 *           1  how many names
 *           1  1: a script
 *           1  how many names of files follow
 *           4  0
 *    24  each segment: 8 off, 8 size, 8 1 when it is writable
 *     4  each name, of a file's libraries, then of the files that it names: a text
 *        the texts, at most LINK_NAME_MAX bytes each and a NUL; the first one is empty
 */
#include "format/link_table.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/limits.h"

#define MAGIC "lrlinks1"
#define AGAIN_SIZE (16u << 10) /* a text that stands among the last so many bytes is not written again */

struct disk_header {
	char magic[8];
	uint32_t n_files, n_loads, n_needed, texts_size;
} __attribute__((packed));
static_assert(sizeof(struct disk_header) == 24, "link table header");

struct disk_file {
	uint64_t off, unwind_off, unwind_size, tables_end;
	uint32_t interpreter, run_path, first_load, first_needed;
	uint8_t n_loads, n_needed, script, n_paths, zero[4];
} __attribute__((packed));
static_assert(sizeof(struct disk_file) == 56, "file of a link table");

struct disk_load {
	uint64_t off, size, writable;
} __attribute__((packed));
static_assert(sizeof(struct disk_load) == 24, "segment of a link table");

/* What one file may add. */
#define FILE_MAX (sizeof(struct disk_file) + ELF_LOADS * sizeof(struct disk_load) + (ELF_NEEDED + LINK_PATHS) * sizeof(uint32_t) + \
		  LINK_TEXT_SIZE + 2)

struct link_table {
	const struct disk_file *files;
	const struct disk_load *loads;
	const uint8_t *needed;
	const char *texts;
	size_t n_files, n_loads, n_needed, texts_size;
};

/* The text of a name. */
static uint32_t needed_at(const struct link_table *t, size_t i)
{
	uint32_t text;

	memcpy(&text, t->needed + i * sizeof(text), sizeof(text));
	return le32toh(text);
}

static bool file_is_right(const struct link_table *t, const struct disk_file *f)
{
	return f->n_loads <= ELF_LOADS && f->n_needed <= ELF_NEEDED && f->n_paths <= LINK_PATHS && f->script <= 1 &&
	       le32toh(f->interpreter) < t->texts_size && le32toh(f->run_path) < t->texts_size && le32toh(f->first_load) <= t->n_loads &&
	       f->n_loads <= t->n_loads - le32toh(f->first_load) && le32toh(f->first_needed) <= t->n_needed &&
	       f->n_needed + (size_t)f->n_paths <= t->n_needed - le32toh(f->first_needed);
}

/* One after the other, each with its end. */
static bool texts_are_right(const struct link_table *t)
{
	const char *end = t->texts + t->texts_size;

	if (t->texts_size == 0 || t->texts[0] != '\0')
		return false;
	for (const char *at = t->texts; at < end;) {
		size_t n = strnlen(at, (size_t)(end - at));

		if (n > LINK_NAME_MAX || at + n == end)
			return false;
		at += n + 1;
	}
	return true;
}

static bool is_right(const struct link_table *t)
{
	for (size_t i = 0; i < t->n_files; i++)
		if (!file_is_right(t, &t->files[i]) || (i > 0 && le64toh(t->files[i].off) <= le64toh(t->files[i - 1].off)))
			return false;
	for (size_t i = 0; i < t->n_needed; i++)
		if (needed_at(t, i) >= t->texts_size)
			return false;
	return texts_are_right(t);
}

int link_table_load(const void *data, size_t size, struct link_table **ret)
{
	_cleanup_(link_table_free) struct link_table *t = NULL;
	const uint8_t *at = data;
	struct disk_header h;

	if (size < sizeof(h))
		return -EBADMSG;
	memcpy(&h, data, sizeof(h));
	if (memcmp(h.magic, MAGIC, sizeof(h.magic)) != 0)
		return -EBADMSG;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->n_files = le32toh(h.n_files);
	t->n_loads = le32toh(h.n_loads);
	t->n_needed = le32toh(h.n_needed);
	t->texts_size = le32toh(h.texts_size);
	if (t->n_files > LIMIT_LINK_FILES || size > LIMIT_LINK_TABLE_SIZE)
		return -EFBIG;
	if (size != sizeof(h) + t->n_files * sizeof(*t->files) + t->n_loads * sizeof(*t->loads) +
			    t->n_needed * sizeof(uint32_t) + t->texts_size)
		return -EBADMSG;
	t->files = (const void *)(at + sizeof(h));
	t->loads = (const void *)(t->files + t->n_files);
	t->needed = (const void *)(t->loads + t->n_loads);
	t->texts = (const char *)t->needed + t->n_needed * sizeof(uint32_t);
	if (!is_right(t))
		return -EBADMSG;
	*ret = TAKE(t);
	return 0;
}

void link_table_free(struct link_table **t)
{
	free(*t);
	*t = NULL;
}

size_t link_table_count(const struct link_table *t)
{
	return t->n_files;
}

static const char *text_at(const struct link_table *t, uint32_t off)
{
	return off ? t->texts + le32toh(off) : NULL;
}

static void take(const struct link_table *t, const struct disk_file *f, struct link_facts *ret)
{
	*ret = (struct link_facts){.script = f->script, .interpreter = text_at(t, f->interpreter), .run_path = text_at(t, f->run_path)};
	ret->head.unwind = (struct elf_range){le64toh(f->unwind_off), le64toh(f->unwind_size)};
	ret->dynamic.tables_end = le64toh(f->tables_end);
	for (; ret->head.n_loads < f->n_loads; ret->head.n_loads++) {
		const struct disk_load *l = &t->loads[le32toh(f->first_load) + ret->head.n_loads];

		ret->head.loads[ret->head.n_loads] =
			(struct elf_load){.off = le64toh(l->off), .size = le64toh(l->size), .writable = l->writable};
	}
	for (; ret->n_needed < f->n_needed; ret->n_needed++)
		ret->needed[ret->n_needed] = t->texts + needed_at(t, le32toh(f->first_needed) + ret->n_needed);
	for (; ret->n_paths < f->n_paths; ret->n_paths++)
		ret->paths[ret->n_paths] = t->texts + needed_at(t, le32toh(f->first_needed) + f->n_needed + ret->n_paths);
}

bool link_table_find(const struct link_table *t, uint64_t file_off, struct link_facts *ret)
{
	size_t low = 0, high = t->n_files;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (le64toh(t->files[middle].off) < file_off)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == t->n_files || le64toh(t->files[low].off) != file_off)
		return false;
	take(t, &t->files[low], ret);
	return true;
}

void link_table_builder_free(struct link_table_builder *b)
{
	bytes_free(&b->files);
	bytes_free(&b->loads);
	bytes_free(&b->needed);
	bytes_free(&b->texts);
}

static int add_text(struct link_table_builder *b, const char *text, uint32_t *ret)
{
	char with_ends[LINK_NAME_MAX + 2] = {0};
	const size_t n = text ? strlen(text) : 0;
	size_t from;
	const uint8_t *there;
	int r = 0;

	*ret = 0;
	if (n == 0 || n > LINK_NAME_MAX)
		return 0;
	if (b->texts.size == 0)
		r = bytes_append(&b->texts, "", 1);
	memcpy(with_ends + 1, text, n);
	from = b->texts.size > AGAIN_SIZE ? b->texts.size - AGAIN_SIZE : 0;
	there = r == 0 ? memmem(b->texts.data + from, b->texts.size - from, with_ends, n + 2) : NULL;
	*ret = htole32((uint32_t)(there ? there - b->texts.data + 1 : (ptrdiff_t)b->texts.size));
	return there || r < 0 ? r : bytes_append(&b->texts, text, n + 1);
}

static int add_loads(struct link_table_builder *b, const struct elf_head *h)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < h->n_loads; i++) {
		const struct disk_load l = {htole64(h->loads[i].off), htole64(h->loads[i].size), htole64(h->loads[i].writable)};

		r = bytes_append(&b->loads, &l, sizeof(l));
	}
	return r;
}

static size_t table_size(const struct link_table_builder *b)
{
	return sizeof(struct disk_header) + b->files.size + b->loads.size + b->needed.size + b->texts.size;
}

static int add_name(struct link_table_builder *b, const char *name)
{
	uint32_t text;
	int r = add_text(b, name, &text);

	return r < 0 ? r : bytes_append(&b->needed, &text, sizeof(text));
}

int link_table_add(struct link_table_builder *b, uint64_t file_off, const struct link_facts *f)
{
	struct disk_file d = {
		.off = htole64(file_off),
		.unwind_off = htole64(f->head.unwind.off),
		.unwind_size = htole64(f->head.unwind.size),
		.tables_end = htole64(f->dynamic.tables_end),
		.first_load = htole32((uint32_t)(b->loads.size / sizeof(struct disk_load))),
		.first_needed = htole32((uint32_t)(b->needed.size / sizeof(uint32_t))),
		.n_loads = (uint8_t)f->head.n_loads,
		.n_needed = (uint8_t)f->n_needed,
		.script = f->script,
		.n_paths = (uint8_t)f->n_paths,
	};
	uint32_t interpreter, run_path;
	int r;

	assert(b->n == 0 || file_off > b->last_off);
	if (b->n == LIMIT_LINK_FILES || table_size(b) + FILE_MAX > LIMIT_LINK_TABLE_SIZE)
		return 0;
	r = add_text(b, f->interpreter, &interpreter);
	if (r == 0)
		r = add_text(b, f->run_path, &run_path);
	if (r == 0)
		r = add_loads(b, &f->head);
	for (size_t i = 0; r == 0 && i < f->n_needed; i++)
		r = add_name(b, f->needed[i]);
	for (size_t i = 0; r == 0 && i < f->n_paths; i++)
		r = add_name(b, f->paths[i]);
	if (r < 0)
		return r;
	d.interpreter = interpreter;
	d.run_path = run_path;
	b->last_off = file_off;
	b->n++;
	return bytes_append(&b->files, &d, sizeof(d));
}

int link_table_finish(struct link_table_builder *b, struct bytes *ret)
{
	struct disk_header h = {.magic = MAGIC, .n_files = htole32((uint32_t)b->n)};
	_cleanup_(bytes_free) struct bytes out = {0};
	int r = b->texts.size ? 0 : bytes_append(&b->texts, "", 1);

	h.n_loads = htole32((uint32_t)(b->loads.size / sizeof(struct disk_load)));
	h.n_needed = htole32((uint32_t)(b->needed.size / sizeof(uint32_t)));
	h.texts_size = htole32((uint32_t)b->texts.size);
	if (r == 0)
		r = bytes_append(&out, &h, sizeof(h));
	if (r == 0)
		r = bytes_append(&out, b->files.data, b->files.size);
	if (r == 0)
		r = bytes_append(&out, b->loads.data, b->loads.size);
	if (r == 0)
		r = bytes_append(&out, b->needed.data, b->needed.size);
	if (r == 0)
		r = bytes_append(&out, b->texts.data, b->texts.size);
	if (r < 0)
		return r;
	*ret = out;
	out = (struct bytes){0};
	return 0;
}
