/* Walks the merged tree of one to three layer indexes that are cut from the input (its first byte says how many). */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_DEPTH 12
#define MAX_STEPS 3000

static void check_node(const struct tree *t, const struct tree_dir *dir, const struct tree_node *node,
		       const struct tree_dir *child)
{
	struct tree_node again;
	struct tree_dir found;

	if (node->position >= t->n_layers || !t->layers[node->position])
		abort();
	if (!S_ISDIR(node->inode.mode))
		return;
	if (child->n_parts == 0 || child->n_parts > t->n_layers)
		abort();
	/* Who came down must be able to climb back. */
	if (tree_dir_again(t, node->top_position, node->top_nid, &again, &found) != 0 ||
	    found.n_parts != child->n_parts)
		abort();
	if (tree_parent(t, child, &again, &found) != 0 || found.n_parts != dir->n_parts)
		abort();
}

/* Behind each entry's cookie are only names behind its own, so that a listing ends. */
static void check_goes_on(const struct tree *t, const struct tree_dir *dir, const struct tree_entry *e)
{
	struct tree_entry next;
	struct tree_list list;
	size_t size;
	int r;

	if (tree_list_begin(t, dir, e->cookie, &list) < 0 || tree_list_next(&list, &next) != 1)
		return;
	size = e->name_size < next.name_size ? e->name_size : next.name_size;
	r = memcmp(e->name, next.name, size);
	if (e->cookie == 0 || r > 0 || (r == 0 && e->name_size >= next.name_size))
		abort();
}

static void walk(const struct tree *t, const struct tree_dir *dir, int depth, int *steps)
{
	struct tree_list list;
	struct tree_entry e;
	int r = tree_list_begin(t, dir, 0, &list);

	while (r == 0 && depth < MAX_DEPTH && (*steps)++ < MAX_STEPS && tree_list_next(&list, &e) == 1) {
		struct tree_node node;
		struct tree_dir child;

		check_goes_on(t, dir, &e);
		if (tree_lookup(t, dir, e.name, e.name_size, &node, &child) < 0)
			continue;
		check_node(t, dir, &node, &child);
		if (S_ISDIR(node.inode.mode))
			walk(t, &child, depth + 1, steps);
	}
}

static void resolve_all(const struct tree *t)
{
	static const char *const paths[] = {"/", "a/b/c", "../a", "l", "l/x", "a/../l/..", "."};
	struct tree_node node;
	struct tree_dir dir;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		(void)tree_resolve(t, paths[i], true, &node, &dir);
		(void)tree_resolve(t, paths[i], false, &node, &dir);
	}
	for (uint32_t nid = 0; nid < 300; nid++)
		(void)tree_dir_again(t, 0, nid, &node, &dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct erofs_read indexes[3];
	const struct erofs_read *reads[3];
	uint8_t *copies[3] = {0};
	size_t n = size ? data[0] % 3u + 1 : 0, piece = n ? (size - 1) / n : 0, n_good = 0;
	struct tree_node node;
	struct tree_dir dir;
	struct tree t;
	int steps = 0;

	for (size_t i = 0; i < n && piece > 0 && size < 1 << 18; i++) {
		copies[i] = malloc(piece); /* each alone, so that none is read past its end */
		if (!copies[i])
			abort();
		memcpy(copies[i], data + 1 + i * piece, piece);
		if (erofs_read_open(copies[i], piece, &indexes[n_good]) == 0) {
			reads[n_good] = &indexes[n_good];
			n_good++;
		}
	}
	tree_init(&t, reads, n_good);
	if (tree_root(&t, &dir, &node) == 0) {
		walk(&t, &dir, 0, &steps);
		resolve_all(&t);
	}
	for (size_t i = 0; i < 3; i++)
		free(copies[i]);
	return 0;
}
