/* place: a node found by its number, and what the kernel is told of it.
 *
 * Ownership  A place holds its layer or image; place_close() gives it back, whatever place_open() said.
 * Units      -
 * Errors     Bare. -ESTALE: no such node (any more), which makes the kernel look the name up again.
 * Threads    Any. A place is a plain value of one thread; struct places never changes after place_new().
 * Source     docs/design.md, "FUSE mounts"; KERNEL.md B.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

#include "fs/dir_cache.h"
#include "fs/id_map.h"
#include "fs/image_view.h"
#include "fs/node.h"

#define PLACE_FOREVER 1e9 /* seconds; the kernel cuts it to what it can count */

#define PLACE_IMAGES_NAME "images"

struct places {
	const struct number_table *numbers;
	struct image_views *views;
	struct dir_cache *dirs;
	struct timespec started;
	struct id_map uids, gids;
};

struct place {
	struct node node;
	struct image_view *image;	/* NODE_DIR */
	struct image_view_layer *layer; /* where `inode` is; NULL for the mount's own directories */
	struct erofs_inode inode;
	struct tree_dir dir; /* NODE_DIR */
};

int place_new(const struct number_table *numbers, struct image_views *views, struct dir_cache *dirs,
	      struct places **ret);
void place_free(struct places **all);

int place_open(struct places *all, uint64_t nodeid, struct place *ret);
void place_close(struct place *p);

/* Of a place that is open. *ret_timeout: how long the kernel may believe it. */
void place_stat(const struct places *all, const struct place *p, struct stat *ret, double *ret_timeout);

/* A name's answer: for the mount's own directories, for a node of an image (whose merged list, for a
 * directory, is kept for what comes next), and for a place itself. */
void place_own_entry(const struct places *all, enum node_kind kind, struct fuse_entry_param *ret);
void place_node_entry(struct places *all, const struct image_view *image, const struct tree_node *n,
		      const struct tree_dir *dir, struct fuse_entry_param *ret);
void place_file_entry(const struct places *all, const struct place *p, struct fuse_entry_param *ret);
