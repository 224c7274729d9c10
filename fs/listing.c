/* ".", "..", then what is in the directory; nothing is remembered between two calls. */
#include "fs/listing.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#define DOT_COOKIE (UINT64_C(1) << 61) /* cookies of tree_list_next() stay far below */
#define DOTDOT_COOKIE (DOT_COOKIE + 1)

/* A listing as it is filled. */
struct listing {
	fuse_req_t request;
	bool plus;
	char *at;
	size_t room;
};

/* False: no room for this one. */
static bool add(struct listing *l, const char *name, const struct fuse_entry_param *e, uint64_t cookie)
{
	size_t size = l->plus ? fuse_add_direntry_plus(l->request, l->at, l->room, name, e, (off_t)cookie) :
				fuse_add_direntry(l->request, l->at, l->room, name, &e->attr, (off_t)cookie);

	if (size > l->room)
		return false;
	l->at += size;
	l->room -= size;
	return true;
}

/* "." and ".." carry no nodeid: they are not looked up by being listed. Moves *cookie on. */
static bool add_dots(struct listing *l, const struct place *p, uint64_t *cookie)
{
	struct fuse_entry_param e = {.attr = {.st_mode = S_IFDIR}};

	if (*cookie == 0) {
		e.attr.st_ino = p->node.kind == NODE_DIR ?
					node_pack_dir(p->node.number, p->node.position, p->node.nid) :
				p->node.kind == NODE_ROOT ? NODEID_ROOT :
							    NODEID_IMAGES;
		if (!add(l, ".", &e, DOT_COOKIE))
			return false;
		*cookie = DOT_COOKIE;
	}
	if (*cookie == DOT_COOKIE) {
		/* getdents' d_ino of ".." is a hint; finding the true one may take a climb */
		e.attr.st_ino = NODEID_ROOT;
		if (!add(l, "..", &e, DOTDOT_COOKIE))
			return false;
		*cookie = DOTDOT_COOKIE;
	}
	if (*cookie == DOTDOT_COOKIE)
		*cookie = 0;
	return true;
}

static void list_images(struct listing *l, const struct number_table *numbers, uint64_t cookie)
{
	uint32_t n = number_table_n_images(numbers);
	struct fuse_entry_param e = {.attr = {.st_mode = S_IFDIR, .st_ino = NODEID_IMAGES}};
	const uint32_t *layers;
	const char *key;
	size_t n_layers;

	for (uint64_t i = cookie + 1; i <= n; i++)
		if (number_table_image(numbers, (uint32_t)i, &key, &layers, &n_layers) == 0 &&
		    !add(l, key, &e, i))
			return;
}

/* What READDIRPLUS tells of an entry. One that cannot be read is listed without: its lookup says why. */
static void fill_listed(struct places *all, const struct place *p, const struct tree_entry *t, bool plus,
			struct fuse_entry_param *e)
{
	const struct image_view *i = p->image;
	struct tree_node n = {.position = t->position};
	struct tree_dir dir;
	int r;

	*e = (struct fuse_entry_param){.attr = {.st_mode = DTTOIF(t->type)}};
	e->attr.st_ino = t->type == DT_DIR ? node_pack_dir(i->number, t->position, t->nid) :
					     node_pack_file(i->layers[t->position]->number, t->nid);
	if (!plus)
		return;
	if (t->type == DT_DIR)
		r = tree_lookup(&i->tree, &p->dir, t->name, t->name_size, &n, &dir);
	else
		r = erofs_read_inode(layer_store_index(i->layers[t->position]->store), t->nid, &n.inode);
	if (r == 0 && S_ISDIR(n.inode.mode) == (t->type == DT_DIR))
		place_node_entry(all, i, &n, &dir, e);
}

static int list_dir(struct listing *l, struct places *all, const struct place *p, uint64_t cookie)
{
	struct tree_list list;
	struct tree_entry t;
	int r = tree_list_begin(&p->image->tree, &p->dir, cookie, &list);

	while (r == 0 && (r = tree_list_next(&list, &t)) == 1) {
		struct fuse_entry_param e;
		char name[LIMIT_NAME_SIZE + 1];

		if (t.name_size > LIMIT_NAME_SIZE)
			return -EBADMSG;
		memcpy(name, t.name, t.name_size);
		name[t.name_size] = '\0';
		fill_listed(all, p, &t, l->plus, &e);
		if (!add(l, name, &e, t.cookie))
			return 0;
		r = 0;
	}
	return r;
}

int listing_fill(struct places *all, const struct place *p, fuse_req_t request, bool plus, uint64_t cookie, char *data,
		 size_t size, size_t *ret_used)
{
	struct listing l = {.request = request, .plus = plus, .at = data, .room = size};
	struct fuse_entry_param images = {.attr = {.st_mode = S_IFDIR, .st_ino = NODEID_IMAGES}};
	int r = p->node.kind == NODE_FILE ? -ENOTDIR : 0;

	if (r == 0 && add_dots(&l, p, &cookie)) {
		if (p->node.kind == NODE_DIR)
			r = list_dir(&l, all, p, cookie);
		else if (p->node.kind == NODE_IMAGES)
			list_images(&l, all->numbers, cookie);
		else if (cookie == 0)
			add(&l, PLACE_IMAGES_NAME, &images, 1);
	}
	*ret_used = size - l.room;
	return r;
}
