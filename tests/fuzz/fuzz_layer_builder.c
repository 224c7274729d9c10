/* Builds a layer of a hostile tar: an index that comes out must read back whole. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/report.h"
#include "format/layer_builder.h"
#include "format/tar.h"
#include "format/tree.h"
#include "tests/fuzz/tar_seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_INDEX (16u << 20)

static int add_members(struct layer_builder *b, const uint8_t *data, size_t size)
{
	struct tar *t = NULL;
	int r = tar_new(&t);

	for (size_t at = 0; r == 0 && at < size;) {
		struct tar_member m;
		size_t used;

		r = tar_next(t, data + at, size - at, &used, &m);
		at += used;
		if (r == 1)
			r = layer_builder_add(b, &m);
	}
	if (r == 0)
		r = tar_finish(t);
	tar_free(&t);
	return r;
}

/* Nothing that our own writer wrote may be refused. */
static void walk(const struct tree *t, const struct tree_dir *dir, unsigned int depth)
{
	struct tree_list list;
	struct tree_entry e;
	int r = tree_list_begin(t, dir, 0, &list);

	while (r == 0 && (r = tree_list_next(&list, &e)) == 1) {
		struct tree_node node;
		struct tree_dir child;
		struct erofs_xattr x;
		uint64_t xattr = 0;

		if (tree_lookup(t, dir, e.name, e.name_size, &node, &child) != 0)
			abort();
		while ((r = erofs_read_xattr_next(t->layers[0], &node.inode, &xattr, &x)) == 1)
			;
		if (r < 0)
			abort();
		if (S_ISDIR(node.inode.mode) && depth < 100)
			walk(t, &child, depth + 1);
	}
	if (r < 0)
		abort();
}

static void check_index(const struct layer_builder *b, size_t size)
{
	uint8_t *out = calloc(1, size);
	struct erofs_read e;
	struct tree_node node;
	struct tree_dir dir;
	struct tree t;

	if (!out)
		abort();
	layer_builder_render(b, out);
	if (erofs_read_open(out, size, &e) != 0)
		abort();
	tree_init(&t, (const struct erofs_read *const[]){&e}, 1);
	if (tree_root(&t, &dir, &node) != 0)
		abort();
	walk(&t, &dir, 0);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct layer_builder *b = NULL;
	char report[REPORT_TEXT_SIZE];
	uint64_t index_size, layer_size;
	uint8_t *data = malloc(size + 1);

	if (!data)
		return 0;
	memcpy(data, input, size);
	tar_seal(data, size);

	report_capture(report);
	if (layer_builder_new(&b) < 0)
		abort();
	if (add_members(b, data, size) == 0 &&
	    layer_builder_finish(b, size, &index_size, &layer_size) == 0 && index_size <= MAX_INDEX)
		check_index(b, index_size);
	layer_builder_free(&b);
	report_capture(NULL);
	free(data);
	return 0;
}
