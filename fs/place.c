/* Numbers to nodes to attributes. */
#include "fs/place.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

int place_new(const struct number_table *numbers, struct image_views *views, struct dir_cache *dirs,
	      struct places **ret)
{
	struct places *all = calloc(1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	all->numbers = numbers;
	all->views = views;
	all->dirs = dirs;
	clock_gettime(CLOCK_REALTIME, &all->started);
	id_map_load("/proc/self/uid_map", &all->uids);
	id_map_load("/proc/self/gid_map", &all->gids);
	*ret = all;
	return 0;
}

void place_free(struct places **all)
{
	free(*all);
	*all = NULL;
}

void place_close(struct place *p)
{
	if (p->image)
		image_view_close(&p->image); /* and with it the layer */
	else
		image_view_layer_close(&p->layer);
}

static struct dir_cache_attributes attributes_of(const struct tree_node *n)
{
	return (struct dir_cache_attributes){n->position, n->inode.nid};
}

static int open_dir(struct places *all, uint64_t nodeid, struct place *p)
{
	struct dir_cache_attributes at;
	int r = image_view_open(all->views, p->node.number, &p->image);

	if (r < 0)
		return r;
	if (p->node.position >= p->image->n_layers)
		return -ESTALE;
	if (!dir_cache_get(all->dirs, nodeid, &p->dir, &at)) {
		struct tree_node found;

		r = tree_dir_again(&p->image->tree, p->node.position, p->node.nid, &found, &p->dir);
		if (r < 0)
			return r == -ENOENT || r == -ENOTDIR ? -ESTALE : r;
		at = attributes_of(&found);
		dir_cache_put(all->dirs, nodeid, &p->dir, at);
	}
	p->layer = p->image->layers[at.position];
	return erofs_read_inode(layer_store_index(p->layer->store), at.nid, &p->inode);
}

static int open_file(struct places *all, struct place *p)
{
	int r = image_view_layer_open(all->views, p->node.number, &p->layer);

	if (r < 0)
		return r;
	r = erofs_read_inode(layer_store_index(p->layer->store), p->node.nid, &p->inode);
	return r == 0 && S_ISDIR(p->inode.mode) ? -ESTALE : r;
}

int place_open(struct places *all, uint64_t nodeid, struct place *ret)
{
	ret->image = NULL;
	ret->layer = NULL;
	if (!node_unpack(nodeid, &ret->node))
		return -ESTALE;
	if (ret->node.kind == NODE_DIR)
		return open_dir(all, nodeid, ret);
	return ret->node.kind == NODE_FILE ? open_file(all, ret) : 0;
}

static void fill_stat(const struct places *all, uint64_t nodeid, const struct erofs_inode *inode, struct stat *st)
{
	*st = (struct stat){.st_ino = nodeid,
			    .st_mode = inode->mode,
			    .st_nlink = S_ISDIR(inode->mode) ? 1 : inode->nlink,
			    .st_uid = id_map_show(&all->uids, inode->uid),
			    .st_gid = id_map_show(&all->gids, inode->gid),
			    .st_size = (off_t)inode->size,
			    .st_blksize = 4096,
			    .st_blocks = (blkcnt_t)((inode->size + 511) / 512),
			    .st_mtim = {inode->mtime, inode->mtime_nsec}};
	if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode))
		st->st_rdev = makedev(inode->major, inode->minor);
	st->st_atim = st->st_ctim = st->st_mtim;
}

/* The list of images changes, and so does its time, by which the kernel knows that its copy is old. */
static void fill_own_stat(const struct places *all, enum node_kind kind, struct stat *st)
{
	*st = (struct stat){.st_ino = kind == NODE_ROOT ? NODEID_ROOT : NODEID_IMAGES,
			    .st_mode = S_IFDIR | 0555,
			    .st_nlink = 1,
			    .st_blksize = 4096,
			    .st_mtim = all->started};
	if (kind == NODE_IMAGES)
		st->st_mtim.tv_sec += number_table_n_images(all->numbers);
	st->st_atim = st->st_ctim = st->st_mtim;
}

static double own_timeout(enum node_kind kind)
{
	return kind == NODE_IMAGES ? 0 : PLACE_FOREVER;
}

void place_stat(const struct places *all, const struct place *p, struct stat *ret, double *ret_timeout)
{
	const struct node *n = &p->node;

	*ret_timeout = own_timeout(n->kind);
	if (n->kind == NODE_FILE)
		fill_stat(all, node_pack_file(n->number, n->nid), &p->inode, ret);
	else if (n->kind == NODE_DIR)
		fill_stat(all, node_pack_dir(n->number, n->position, n->nid), &p->inode, ret);
	else
		fill_own_stat(all, n->kind, ret);
}

void place_own_entry(const struct places *all, enum node_kind kind, struct fuse_entry_param *ret)
{
	fill_own_stat(all, kind, &ret->attr);
	ret->ino = ret->attr.st_ino;
	ret->generation = 1;
	ret->attr_timeout = own_timeout(kind);
	ret->entry_timeout = PLACE_FOREVER;
}

/* Never 0, and another one when the number comes to mean another file. A directory's says its image too. */
static uint32_t generation_of(const struct image_view *i, const struct tree_node *n, bool is_dir)
{
	uint32_t g = layer_store_index(i->layers[is_dir ? n->top_position : n->position]->store)->generation;

	if (is_dir)
		g ^= i->generation_seed;
	return g ? g : 1;
}

void place_node_entry(struct places *all, const struct image_view *image, const struct tree_node *n,
		      const struct tree_dir *dir, struct fuse_entry_param *ret)
{
	bool is_dir = S_ISDIR(n->inode.mode);

	ret->ino = is_dir ? node_pack_dir(image->number, n->top_position, n->top_nid) :
			    node_pack_file(image->layers[n->position]->number, n->inode.nid);
	ret->generation = generation_of(image, n, is_dir);
	ret->attr_timeout = ret->entry_timeout = PLACE_FOREVER;
	fill_stat(all, ret->ino, &n->inode, &ret->attr);
	if (is_dir)
		dir_cache_put(all->dirs, ret->ino, dir, attributes_of(n));
}

void place_file_entry(const struct places *all, const struct place *p, struct fuse_entry_param *ret)
{
	place_stat(all, p, &ret->attr, &ret->attr_timeout);
	ret->ino = ret->attr.st_ino;
	ret->generation = layer_store_index(p->layer->store)->generation;
	ret->entry_timeout = PLACE_FOREVER;
}
