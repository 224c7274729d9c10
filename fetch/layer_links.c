/* Files that are executable, and libraries by their names, are looked into; then for paths among their texts. */
#include "fetch/layer_links.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "fetch/layer_files.h"
#include "format/link_table.h"
#include "format/tree.h"

#define PIECE (1u << 20) /* of a file, in which paths are looked for */
#define NAMED_MAX (64u << 10) /* a file of more is not read for its being named */
#define LOOKUPS_MAX (1u << 20) /* of a layer; */
#define SCANNED_MAX (UINT64_C(4) << 30) /* and so many of its bytes, holes of sparse files too, are looked through */

struct file {
	const struct layer_store *layer;
	uint64_t off, size;
};

static int read_file(void *opaque, uint64_t off, void *data, size_t size, size_t *ret_size)
{
	const struct file *f = opaque;

	if (off >= f->size)
		return -ENOEXEC;
	*ret_size = f->size - off < size ? (size_t)(f->size - off) : size;
	return layer_store_read(f->layer, data, *ret_size, f->off + off);
}

struct making {
	struct tree tree; /* of this layer */
	struct tree_dir dir;
	unsigned int lookups;
	uint64_t scanned;
	struct link_table_builder builder;
	struct link_facts facts; /* of one file */
	uint8_t piece[PIECE];
};

static void making_free(struct making **m)
{
	if (*m)
		link_table_builder_free(&(*m)->builder);
	free(*m);
	*m = NULL;
}

static bool is_small_file(struct making *m, const char *path)
{
	struct tree_node node;

	return m->lookups++ < LOOKUPS_MAX && tree_resolve(&m->tree, path, true, &node, &m->dir) == 0 && S_ISREG(node.inode.mode) &&
	       node.inode.size > 0 && node.inode.size <= NAMED_MAX;
}

/* Whole texts, of letters that paths are made of, ended by NULs. */
static void take_paths(struct making *m, size_t size)
{
	const char *data = (const char *)m->piece, *end = data + size;

	for (const char *at = data; (at = memmem(at, (size_t)(end - at), "\0/", 2)); at++) {
		const char *path = at + 1;
		size_t n = 1;

		while (n <= LINK_PATH_MAX && path + n < end && (isalnum((unsigned char)path[n]) || strchr("/._+-", path[n])) && path[n])
			n++;
		if (n > 1 && n <= LINK_PATH_MAX && path + n < end && path[n] == '\0' && is_small_file(m, path))
			link_facts_add_path(&m->facts, path);
	}
}

static int find_paths(struct making *m, struct file *f)
{
	for (uint64_t off = 0; off < f->size && m->scanned < SCANNED_MAX; off += PIECE - LINK_PATH_MAX - 2) {
		size_t size;
		int r = read_file(f, off, m->piece, PIECE, &size);

		if (r < 0)
			return r;
		m->scanned += size;
		take_paths(m, size);
	}
	return 0;
}

/* What is broken in a file ends what is known about it. */
static int add_file(struct making *m, struct file *f)
{
	int r = link_facts_head(read_file, f, &m->facts);

	if (r == -ENOEXEC)
		return 0;
	if (r == 0)
		r = link_facts_dynamic(read_file, f, &m->facts);
	if (r == 0)
		r = link_facts_names(read_file, f, &m->facts);
	if ((r == 0 || r == -ENOEXEC) && !m->facts.script)
		r = find_paths(m, f);
	return r == 0 || r == -ENOEXEC ? link_table_add(&m->builder, f->off, &m->facts) : r;
}

int layer_links_make(const struct layer_store *layer, struct bytes *ret)
{
	_cleanup_(layer_files_free) struct layer_files files = {0};
	_cleanup_(making_free) struct making *m = calloc(1, sizeof(*m));
	const struct erofs_read *index = layer_store_index(layer);
	int r = m ? layer_files_read(index, &files) : -ENOMEM;

	if (r == -EFBIG)
		r = 0; /* it is not looked into at a start, either */
	if (r == 0)
		tree_init(&m->tree, &index, 1);
	for (size_t i = 0; r == 0 && i < layer_files_count(&files); i++) {
		const struct layer_file *f = layer_files_at(&files, i);

		if ((f->program || f->library) && (i == 0 || f->off > layer_files_at(&files, i - 1)->off))
			r = add_file(m, &(struct file){layer, f->off, f->size});
	}
	return r < 0 ? r : link_table_finish(&m->builder, ret);
}

bool layer_links_head(const struct layer_store *layer, uint64_t file_off, uint64_t file_size, struct elf_head *ret)
{
	const struct link_table *t = layer_store_links(layer);
	uint8_t data[ELF_HEAD_SIZE];
	struct link_facts facts;

	if (t && link_table_find(t, file_off, &facts)) {
		*ret = facts.head;
		return !facts.script;
	}
	return file_size >= sizeof(data) && layer_store_read(layer, data, sizeof(data), file_off) == 0 &&
	       elf_parse_head(data, sizeof(data), ret) == 0;
}
