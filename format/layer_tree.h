/* layer_tree: a layer in memory while its index is built: nodes, and the names that lead to them.
 *
 * Ownership  All nodes and entries live in the tree's arena and end with it. A name that is replaced
 *            leaves its old node there, for other names may still lead to it.
 * Units      Bytes. index_off, block, parent_cookie and nlink are filled in by erofs_write_layout().
 * Errors     NULL: out of memory.
 * Threads    One thread at a time.
 * Source     SipHash-1-3 for the names, which an attacker chooses: https://www.aumasson.jp/siphash
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

struct layer_entry;
struct tar_fragment;

struct layer_node {
	uint32_t mode; /* with the type */
	uint32_t uid, gid;
	uint32_t nlink;
	int64_t mtime;
	uint32_t mtime_nsec;
	uint32_t ino;
	const uint8_t *xattrs; /* as EROFS has them, without the header */
	uint32_t xattrs_size;
	uint32_t rdev;	    /* as new_encode_dev() of the kernel writes it */
	uint64_t index_off; /* of the inode; 0: not laid out yet */
	union {
		struct {
			uint64_t size;
			uint64_t off;			   /* in the layer file */
			const struct tar_fragment *fragments; /* NULL: the body is in one piece already */
			size_t n_fragments;
			struct layer_node *next_sparse;
		} file;
		struct {
			const char *target;
			uint32_t size;
			uint32_t block; /* in the data part; only without room behind the inode */
			bool inlined;
		} symlink;
		struct {
			struct layer_node *parent; /* the root's is the root */
			struct layer_entry *entries;
			struct layer_entry **sorted; /* with "." and ".." */
			struct layer_node *next;
			uint32_t n_entries;
			uint32_t n_sorted;
			uint32_t block; /* in the data part */
			uint32_t n_blocks;
			uint32_t parent_cookie;
			bool implied, opaque, has_whiteout;
		} dir;
	};
};

struct layer_entry {
	struct layer_node *node; /* NULL: nothing stands here but a whiteout */
	struct layer_node *parent;
	struct layer_entry *next_in_bucket;
	struct layer_entry *next_in_dir;
	uint32_t hash;
	uint8_t name_size;
	bool hides; /* what the layers below have under this name */
	char name[];
};

struct layer_tree {
	struct arena arena;
	struct layer_node *root;
	struct layer_entry **buckets;
	size_t n_buckets; /* a power of two */
	size_t n_entries;
	uint64_t key[2];
};

struct layer_tree *layer_tree_new(void);
void layer_tree_free(struct layer_tree **t);

/* A directory is not yet anybody's: set its parent. */
struct layer_node *layer_tree_node(struct layer_tree *t, uint32_t mode);

/* NULL: no such name. */
struct layer_entry *layer_tree_find(const struct layer_tree *t, const struct layer_node *dir, const char *name,
				    size_t name_size);

/* Finds the name or makes it, then without a node. At most 255 bytes. */
struct layer_entry *layer_tree_enter(struct layer_tree *t, struct layer_node *dir, const char *name,
				     size_t name_size);
