/* erofs_write: a layer's tree in memory becomes its layer index.
 *
 * What is written: superblock and device slot; all inodes, each with its xattrs and, behind them, a
 * file's chunk index or a symlink's target; then the blocks of directories and of symlinks that are
 * too long for that. Inodes come directory by directory, depth first, children of a directory side by
 * side, in the order of their names. Whiteouts of a layer share one inode.
 *
 * Ownership  The layout points into the tree, which must outlive it.
 * Units      Bytes.
 * Errors     -EFBIG: the index or the layer file passes limits.h (reported). -ENOMEM.
 * Threads    One thread at a time.
 * Source     erofs_format.h; overlayfs.rst for the two xattrs (KERNEL.md F).
 */
#pragma once

#include <stdint.h>

#include "format/layer_tree.h"

struct erofs_layout {
	struct layer_tree *tree;
	struct layer_node *whiteout;	 /* NULL: there is none */
	struct layer_node *first_dir;	 /* all directories, in the order of their inodes */
	struct layer_node *first_sparse; /* all files that were given a place behind the tar's end */
	uint64_t inodes_end;
	uint64_t index_size;
	uint64_t layer_file_size;
	uint64_t n_inodes;
	uint64_t n_implied;
};

/* `tar_size`: sparse files are laid out behind it. */
int erofs_write_layout(struct layer_tree *tree, uint64_t tar_size, struct erofs_layout *ret);

/* `out`: index_size bytes, all zero. */
void erofs_write_render(const struct erofs_layout *l, void *out);
