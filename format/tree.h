/* tree: the layers of an image seen as one tree, merged name by name as they are looked up.
 *
 * Nothing is stored for an image: a merged directory is a list of (layer, nid), topmost first, and
 * each name is a binary search in each.
 *
 * Ownership  A tree points to layer indexes of the caller's, which must outlive it.
 * Units      `position` counts layers from the bottom, as the manifest lists them. Of a layer that
 *            occurs twice only the topmost occurrence counts (KERNEL.md F).
 * Errors     -ENOENT, -ENOTDIR, -ELOOP, -EBADMSG, bare.
 * Threads    Never changes after init, so any thread reads it without a lock. A tree_dir is a plain value.
 * Source     overlayfs.rst, image-spec layer.md.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "format/erofs_read.h"

struct tree {
	const struct erofs_read *layers[LIMIT_LAYERS]; /* NULL: does not count, see tree_init() */
	size_t n_layers;
};

struct tree_part {
	uint16_t position;
	uint32_t nid;
};

struct tree_dir { /* a merged directory; topmost part first, at least one */
	uint32_t n_parts;
	struct tree_part parts[LIMIT_LAYERS];
};

struct tree_node {
	uint16_t position;	  /* whose attributes count: topmost, implied directories passed over */
	struct erofs_inode inode; /* directories: nlink is 1 (merged, so not counted) */
	uint16_t top_position;	  /* directories: topmost part, what makes the nodeid */
	uint32_t top_nid;
};

/* Same layer index pointers at several positions: the lower ones are set to NULL. So is all that lies
 * below a layer whose root is opaque: overlayfs does not obey that mark on a layer's root (tried on
 * Linux 6.18), so whoever stacks layers by overlayfs must leave out what is NULL here. */
void tree_init(struct tree *t, const struct erofs_read *const *layers, size_t n_layers);

int tree_root(const struct tree *t, struct tree_dir *ret_dir, struct tree_node *ret_node);

/* Finds `name` in `dir`. For a directory *ret_dir (may be NULL) is its merged list. */
int tree_lookup(const struct tree *t, const struct tree_dir *dir, const char *name, size_t name_size,
		struct tree_node *ret_node, struct tree_dir *ret_dir);

/* The merged list and node of the directory whose topmost part is (position, nid), found again by
 * climbing ".." and coming back down: for a server that forgot, or was restarted. */
int tree_dir_again(const struct tree *t, uint16_t position, uint32_t nid, struct tree_node *ret_node,
		   struct tree_dir *ret_dir);

/* The parent's merged list. The root's is the root. */
int tree_parent(const struct tree *t, const struct tree_dir *dir, struct tree_node *ret_node, struct tree_dir *ret_dir);

struct tree_entry {
	const char *name; /* points into an index; not NUL-terminated */
	size_t name_size;
	uint8_t type;	   /* DT_* */
	uint16_t position; /* topmost part */
	uint32_t nid;
	uint64_t cookie; /* where reading goes on behind this entry; never 0, same on every machine */
};

struct tree_list { /* where a merged directory is read; for tree_list_next() alone */
	const struct tree *tree;
	const struct tree_dir *dir;
	const char *last; /* the name before; NULL at the beginning */
	size_t last_size;
	uint32_t n_parts;
	struct tree_cursor {
		uint64_t behind; /* the entry, in erofs_read's count */
		struct erofs_entry entry;
		bool ended;
	} parts[LIMIT_LAYERS];
};

/* The entries of a merged directory in the order of their names, which is that of most layers' tars: who reads a tree
 * from end to end reads each of its layers so. "." and ".." are not among them. `tree` and `dir` are borrowed. Cookie 0
 * starts; one of an earlier entry goes on behind it. */
int tree_list_begin(const struct tree *tree, const struct tree_dir *dir, uint64_t cookie, struct tree_list *ret);

/* 1 with an entry, 0 at the end. */
int tree_list_next(struct tree_list *l, struct tree_entry *ret);

/* Follows `path` from the root, symlinks inside (absolute ones from the root, ".." stops there).
 * With `follow` false a symlink at the end is itself the answer. */
int tree_resolve(const struct tree *t, const char *path, bool follow, struct tree_node *ret_node, struct tree_dir *ret_dir);
