/* The index is walked directory by directory, then the files are sorted. */
#include "fetch/layer_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"

struct layer_file *layer_files_at(const struct layer_files *t, size_t i)
{
	return (struct layer_file *)(void *)t->files.data + i;
}

struct layer_directory *layer_files_directory(const struct layer_files *t, size_t i)
{
	return (struct layer_directory *)(void *)t->directories.data + i;
}

size_t layer_files_count(const struct layer_files *t)
{
	return t->files.size / sizeof(struct layer_file);
}

size_t layer_files_n_directories(const struct layer_files *t)
{
	return t->directories.size / sizeof(struct layer_directory);
}

void layer_files_free(struct layer_files *t)
{
	bytes_free(&t->files);
	bytes_free(&t->directories);
}

uint32_t layer_files_hash(const void *name, size_t size)
{
	const uint8_t *p = name;
	uint32_t h = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < size; i++)
		h = (h ^ p[i]) * 16777619u;
	return h;
}

struct level { /* a directory that is still to be walked */
	uint32_t nid, directory;
};

static bool is_dots(const struct erofs_entry *e)
{
	return e->name_size <= 2 && memcmp(e->name, "..", e->name_size) == 0;
}

static int add_file(struct layer_files *t, uint32_t directory, const struct erofs_entry *e, const struct erofs_inode *inode)
{
	struct layer_file f = {.off = inode->data_off, .size = inode->size, .directory = directory};
	const char *stem = memchr(e->name, '.', e->name_size);

	if (f.size == 0)
		return 0;
	if (layer_files_count(t) == LAYER_FILES_MAX)
		return -EFBIG;
	f.stem = layer_files_hash(e->name, stem ? (size_t)(stem - e->name) : e->name_size);
	f.library = memmem(e->name, e->name_size, ".so", 3);
	f.program = inode->mode & 0111 && !f.library;
	layer_files_directory(t, directory)->size += f.size;
	layer_files_directory(t, directory)->n_files++;
	return bytes_append(&t->files, &f, sizeof(f));
}

static int walk_directory(const struct erofs_read *index, struct layer_files *t, const struct level *at, struct bytes *stack)
{
	struct erofs_inode dir, inode;
	struct erofs_entry e;
	uint64_t cookie = 0;
	int r = erofs_read_inode(index, at->nid, &dir);

	while (r == 0 && (r = erofs_read_entry(index, &dir, &cookie, &e)) > 0) {
		struct level below = {.nid = e.nid, .directory = (uint32_t)layer_files_n_directories(t)};
		struct layer_directory d = {.parent = at->directory};

		r = 0;
		if (e.type == DT_REG) {
			r = erofs_read_inode(index, e.nid, &inode);
			if (r == 0)
				r = add_file(t, at->directory, &e, &inode);
		} else if (e.type == DT_DIR && !is_dots(&e)) {
			r = bytes_append(stack, &below, sizeof(below));
			d.name = layer_files_hash(e.name, e.name_size);
			if (r == 0)
				r = bytes_append(&t->directories, &d, sizeof(d));
		}
	}
	return r;
}

static int by_place(const void *a, const void *b)
{
	const struct layer_file *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* `left` ends it should a damaged index have directories in a circle. */
int layer_files_read(const struct erofs_read *index, struct layer_files *t)
{
	_cleanup_(bytes_free) struct bytes stack = {0};
	uint64_t left = index->n_inodes + 1;
	struct level at = {.nid = index->root_nid};
	int r = bytes_append(&t->directories, &(struct layer_directory){0}, sizeof(struct layer_directory));

	if (r == 0)
		r = bytes_append(&stack, &at, sizeof(at));
	while (r == 0 && stack.size > 0 && left-- > 0) {
		stack.size -= sizeof(at);
		memcpy(&at, stack.data + stack.size, sizeof(at));
		r = walk_directory(index, t, &at, &stack);
	}
	if (layer_files_count(t) > 1)
		qsort(t->files.data, layer_files_count(t), sizeof(struct layer_file), by_place);
	return r;
}

struct layer_file *layer_files_find(const struct layer_files *t, uint64_t off)
{
	size_t low = 0, high = layer_files_count(t);
	struct layer_file *f;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (layer_files_at(t, middle)->off <= off)
			low = middle + 1;
		else
			high = middle;
	}
	f = low > 0 ? layer_files_at(t, low - 1) : NULL;
	return f && off - f->off < f->size ? f : NULL;
}

