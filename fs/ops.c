/* One function for each operation; each finds its node by number, asks the layer index and replies. */
#include "fs/ops.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "base/fd.h"
#include "base/report.h"
#include "fs/id_map.h"
#include "fs/node.h"

#define FOREVER 1e9 /* seconds; the kernel cuts it to what it can count */
#define DOT_COOKIE (UINT64_C(1) << 61) /* cookies of tree_entry() stay far below */
#define DOTDOT_COOKIE (DOT_COOKIE + 1)
#define IMAGES_NAME "images"

struct ops {
	struct ops_parts parts;
	struct timespec started;
	struct id_map uids, gids;
};

/* A node with what is needed to answer about it. Close it whatever it is. */
struct place {
	struct node node;
	struct image_view *image;	  /* NODE_DIR */
	struct image_view_layer *layer;	  /* where `inode` is; NODE_DIR: one of the image's, NODE_FILE: ours */
	struct erofs_inode inode;
	struct tree_dir dir; /* NODE_DIR */
};

static void place_close(struct place *p)
{
	if (p->image)
		image_view_close(&p->image);
	else
		image_view_layer_close(&p->layer);
}

static struct ops *of(fuse_req_t request)
{
	return fuse_req_userdata(request);
}

static void reply_error(fuse_req_t request, int r)
{
	switch (-r) {
	case ENOENT:
	case ESTALE:
	case ENOTDIR:
	case EISDIR:
	case EINVAL:
	case ENODATA:
	case ERANGE:
	case ENOMEM:
	case ENAMETOOLONG:
		fuse_reply_err(request, -r);
		break;
	default:
		fuse_reply_err(request, EIO);
	}
}

static int open_dir(struct ops *o, fuse_ino_t nodeid, struct place *p)
{
	struct dir_cache_attributes at;
	int r = image_view_open(o->parts.views, p->node.number, &p->image);

	if (r < 0)
		return r;
	if (p->node.position >= p->image->n_layers)
		return -ESTALE;
	if (!dir_cache_get(o->parts.dirs, nodeid, &p->dir, &at)) {
		struct tree_node found;

		r = tree_dir_again(&p->image->tree, p->node.position, p->node.nid, &found, &p->dir);
		if (r < 0)
			return r == -ENOENT || r == -ENOTDIR ? -ESTALE : r;
		at = (struct dir_cache_attributes){found.position, found.inode.nid};
		dir_cache_put(o->parts.dirs, nodeid, &p->dir, at);
	}
	p->layer = p->image->layers[at.position];
	return erofs_read_inode(layer_store_index(p->layer->store), at.nid, &p->inode);
}

static int open_file(struct ops *o, struct place *p)
{
	int r = image_view_layer_open(o->parts.views, p->node.number, &p->layer);

	if (r < 0)
		return r;
	r = erofs_read_inode(layer_store_index(p->layer->store), p->node.nid, &p->inode);
	return r == 0 && S_ISDIR(p->inode.mode) ? -ESTALE : r;
}

static int place_open(struct ops *o, fuse_ino_t nodeid, struct place *p)
{
	p->image = NULL;
	p->layer = NULL;
	if (!node_unpack(nodeid, &p->node))
		return -ESTALE;
	if (p->node.kind == NODE_DIR)
		return open_dir(o, nodeid, p);
	return p->node.kind == NODE_FILE ? open_file(o, p) : 0;
}

static void fill_stat(const struct ops *o, uint64_t nodeid, const struct erofs_inode *inode, struct stat *st)
{
	*st = (struct stat){.st_ino = nodeid,
			    .st_mode = inode->mode,
			    .st_nlink = S_ISDIR(inode->mode) ? 1 : inode->nlink,
			    .st_uid = id_map_show(&o->uids, inode->uid),
			    .st_gid = id_map_show(&o->gids, inode->gid),
			    .st_size = (off_t)inode->size,
			    .st_blksize = 4096,
			    .st_blocks = (blkcnt_t)((inode->size + 511) / 512),
			    .st_mtim = {inode->mtime, inode->mtime_nsec}};
	if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode))
		st->st_rdev = makedev(inode->major, inode->minor);
	st->st_atim = st->st_ctim = st->st_mtim;
}

/* The mount's own directories. The list of images changes, and so does its time. */
static void fill_own_stat(const struct ops *o, enum node_kind kind, struct stat *st)
{
	*st = (struct stat){.st_ino = kind == NODE_ROOT ? NODEID_ROOT : NODEID_IMAGES,
			    .st_mode = S_IFDIR | 0555,
			    .st_nlink = 1,
			    .st_blksize = 4096,
			    .st_mtim = o->started};
	if (kind == NODE_IMAGES)
		st->st_mtim.tv_sec += number_table_n_images(o->parts.numbers);
	st->st_atim = st->st_ctim = st->st_mtim;
}

static double own_timeout(enum node_kind kind)
{
	return kind == NODE_IMAGES ? 0 : FOREVER;
}

static struct dir_cache_attributes attributes_of(const struct tree_node *n)
{
	return (struct dir_cache_attributes){n->position, n->inode.nid};
}

/* Never 0, and another one when the number comes to mean another file: KERNEL.md B. */
static uint32_t generation_of(const struct image_view *i, const struct tree_node *n, bool is_dir)
{
	uint32_t g = layer_store_index(i->layers[is_dir ? n->top_position : n->position]->store)->generation;

	if (is_dir)
		g ^= i->generation_seed;
	return g ? g : 1;
}

/* A node of an image as an entry; a directory's merged list is kept for what comes next. */
static void fill_entry(struct ops *o, const struct image_view *i, const struct tree_node *n,
		       const struct tree_dir *dir, struct fuse_entry_param *e)
{
	bool is_dir = S_ISDIR(n->inode.mode);

	e->ino = is_dir ? node_pack_dir(i->number, n->top_position, n->top_nid) :
			  node_pack_file(i->layers[n->position]->number, n->inode.nid);
	e->generation = generation_of(i, n, is_dir);
	e->attr_timeout = e->entry_timeout = FOREVER;
	fill_stat(o, e->ino, &n->inode, &e->attr);
	if (is_dir && dir)
		dir_cache_put(o->parts.dirs, e->ino, dir, attributes_of(n));
}

static void fill_own_entry(const struct ops *o, enum node_kind kind, struct fuse_entry_param *e)
{
	fill_own_stat(o, kind, &e->attr);
	e->ino = e->attr.st_ino;
	e->generation = 1;
	e->attr_timeout = own_timeout(kind);
	e->entry_timeout = FOREVER;
}

static int image_root(struct ops *o, const char *key, struct fuse_entry_param *e)
{
	_cleanup_(image_view_close) struct image_view *image = NULL;
	struct tree_node n;
	struct tree_dir dir;
	uint32_t number;
	int r;

	if (number_table_find_image(o->parts.numbers, key, &number) < 0)
		return -ENOENT;
	r = image_view_open(o->parts.views, number, &image);
	if (r == 0)
		r = tree_root(&image->tree, &dir, &n);
	if (r == 0)
		fill_entry(o, image, &n, &dir, e);
	return r;
}

/* "." and "..": who decodes a file handle asks for them (overlayfs does, for what was copied up). */
static int lookup_dots(struct ops *o, struct place *p, bool up, struct fuse_entry_param *e)
{
	struct tree_node n;
	struct tree_dir dir;
	int r;

	if (p->node.kind == NODE_ROOT || p->node.kind == NODE_IMAGES) {
		fill_own_entry(o, up ? NODE_ROOT : p->node.kind, e);
		return 0;
	}
	if (p->node.kind == NODE_FILE) {
		if (up)
			return -ENOTDIR;
		e->ino = node_pack_file(p->node.number, p->node.nid);
		e->generation = layer_store_index(p->layer->store)->generation;
		e->attr_timeout = e->entry_timeout = FOREVER;
		fill_stat(o, e->ino, &p->inode, &e->attr);
		return 0;
	}
	r = tree_root(&p->image->tree, &dir, &n);
	if (r == 0 && up && n.top_position == p->node.position && n.top_nid == p->node.nid) {
		fill_own_entry(o, NODE_IMAGES, e);
		return 0;
	}
	r = up ? tree_parent(&p->image->tree, &p->dir, &n, &dir) :
		 tree_dir_again(&p->image->tree, p->node.position, p->node.nid, &n, &dir);
	if (r == 0)
		fill_entry(o, p->image, &n, &dir, e);
	return r;
}

static int lookup(struct ops *o, fuse_ino_t parent, const char *name, struct fuse_entry_param *e)
{
	_cleanup_(place_close) struct place p;
	size_t size = strlen(name);
	struct tree_node n;
	struct tree_dir dir;
	int r = place_open(o, parent, &p);

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		if (r == -ESTALE)
			return -ENOENT; /* of "." the kernel makes ESTALE itself, of ESTALE an error */
		return r < 0 ? r : lookup_dots(o, &p, size == 2, e);
	}
	if (r < 0)
		return r;
	if (size > LIMIT_NAME_SIZE)
		return -ENAMETOOLONG;
	switch (p.node.kind) {
	case NODE_ROOT:
		if (strcmp(name, IMAGES_NAME) != 0)
			return -ENOENT;
		fill_own_entry(o, NODE_IMAGES, e);
		return 0;
	case NODE_IMAGES:
		return image_root(o, name, e);
	case NODE_FILE:
		return -ENOTDIR;
	case NODE_DIR:
		break;
	}
	r = tree_lookup(&p.image->tree, &p.dir, name, size, &n, &dir);
	if (r == 0)
		fill_entry(o, p.image, &n, &dir, e);
	if (r == -ENOENT) {
		e->ino = 0; /* never comes to be: the kernel may remember that */
		e->entry_timeout = FOREVER;
		r = 0;
	}
	return r;
}

static void op_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = {0};
	int r = lookup(of(request), parent, name, &e);

	if (r < 0)
		reply_error(request, r);
	else
		fuse_reply_entry(request, &e);
}

static void op_forget(fuse_req_t request, fuse_ino_t nodeid, uint64_t n_lookups)
{
	(void)nodeid;
	(void)n_lookups;
	fuse_reply_none(request);
}

static void op_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets)
{
	(void)count;
	(void)forgets;
	fuse_reply_none(request);
}

static void op_getattr(fuse_req_t request, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
	_cleanup_(place_close) struct place p;
	struct ops *o = of(request);
	int r = place_open(o, nodeid, &p);
	struct stat st;

	(void)fi;
	if (r < 0) {
		reply_error(request, r);
		return;
	}
	if (p.node.kind == NODE_ROOT || p.node.kind == NODE_IMAGES)
		fill_own_stat(o, p.node.kind, &st);
	else
		fill_stat(o, nodeid, &p.inode, &st);
	fuse_reply_attr(request, &st, own_timeout(p.node.kind));
}

static void op_readlink(fuse_req_t request, fuse_ino_t nodeid)
{
	_cleanup_(place_close) struct place p;
	const char *target;
	size_t size;
	int r = place_open(of(request), nodeid, &p);

	if (r == 0 && (p.node.kind != NODE_FILE || !S_ISLNK(p.inode.mode)))
		r = -EINVAL;
	if (r == 0)
		r = erofs_read_symlink(layer_store_index(p.layer->store), &p.inode, &target, &size);
	if (r < 0)
		reply_error(request, r);
	else
		fuse_reply_buf(request, target, size);
}

/* Once for the life of the connection: the kernel then opens and closes without us (KERNEL.md J). */
static void op_open(fuse_req_t request, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
	(void)nodeid;
	(void)fi;
	fuse_reply_err(request, ENOSYS);
}

static void op_read(fuse_req_t request, fuse_ino_t nodeid, size_t size, off_t off, struct fuse_file_info *fi)
{
	_cleanup_(place_close) struct place p;
	struct ops *o = of(request);
	int r = place_open(o, nodeid, &p);

	(void)fi;
	if (r == 0 && (p.node.kind != NODE_FILE || !S_ISREG(p.inode.mode)))
		r = p.node.kind == NODE_FILE ? -EINVAL : -EISDIR;
	if (r < 0) {
		reply_error(request, r);
		return;
	}
	if (off < 0 || (uint64_t)off >= p.inode.size || size == 0) {
		fuse_reply_buf(request, NULL, 0);
		return;
	}
	if (size > p.inode.size - (uint64_t)off)
		size = p.inode.size - (uint64_t)off;
	reader_read(o->parts.reader, request, TAKE(p.layer), p.inode.data_off + (uint64_t)off, size);
}

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
static bool add_dots(struct listing *l, const struct ops *o, const struct place *p, uint64_t *cookie)
{
	struct fuse_entry_param e = {.attr = {.st_mode = S_IFDIR}};

	(void)o;
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

static void list_images(struct listing *l, const struct ops *o, uint64_t cookie)
{
	uint32_t n = number_table_n_images(o->parts.numbers);
	struct fuse_entry_param e = {.attr = {.st_mode = S_IFDIR, .st_ino = NODEID_IMAGES}};
	const uint32_t *layers;
	const char *key;
	size_t n_layers;

	for (uint64_t i = cookie + 1; i <= n; i++)
		if (number_table_image(o->parts.numbers, (uint32_t)i, &key, &layers, &n_layers) == 0 &&
		    !add(l, key, &e, i))
			return;
}

/* What READDIRPLUS tells of an entry. One that cannot be read is listed without: its lookup says why. */
static void fill_listed(struct ops *o, const struct place *p, const struct tree_entry *t, bool plus,
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
		fill_entry(o, i, &n, &dir, e);
}

static int list_dir(struct listing *l, struct ops *o, const struct place *p, uint64_t cookie)
{
	struct tree_entry t;
	int r;

	while ((r = tree_entry(&p->image->tree, &p->dir, cookie, &t)) == 1) {
		struct fuse_entry_param e;
		char name[LIMIT_NAME_SIZE + 1];

		if (t.name_size > LIMIT_NAME_SIZE)
			return -EBADMSG;
		memcpy(name, t.name, t.name_size);
		name[t.name_size] = '\0';
		fill_listed(o, p, &t, l->plus, &e);
		if (!add(l, name, &e, t.cookie))
			return 0;
		cookie = t.cookie;
	}
	return r;
}

static void list(fuse_req_t request, fuse_ino_t nodeid, size_t size, off_t off, bool plus)
{
	_cleanup_(place_close) struct place p;
	char data[READER_SIZE_MAX];
	struct ops *o = of(request);
	struct listing l = {.request = request,
			    .plus = plus,
			    .at = data,
			    .room = size < sizeof(data) ? size : sizeof(data)};
	uint64_t cookie = (uint64_t)off;
	int r = place_open(o, nodeid, &p);

	if (r == 0 && p.node.kind == NODE_FILE)
		r = -ENOTDIR;
	if (r == 0 && add_dots(&l, o, &p, &cookie)) {
		struct fuse_entry_param e = {.attr = {.st_mode = S_IFDIR, .st_ino = NODEID_IMAGES}};

		if (p.node.kind == NODE_DIR)
			r = list_dir(&l, o, &p, cookie);
		else if (p.node.kind == NODE_IMAGES)
			list_images(&l, o, cookie);
		else if (cookie == 0)
			add(&l, IMAGES_NAME, &e, 1);
	}
	/* What was listed before the broken entry is still true. */
	if (r < 0 && l.at == data)
		reply_error(request, r);
	else
		fuse_reply_buf(request, data, (size_t)(l.at - data));
}

static void op_readdir(fuse_req_t request, fuse_ino_t nodeid, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list(request, nodeid, size, off, false);
}

static void op_readdirplus(fuse_req_t request, fuse_ino_t nodeid, size_t size, off_t off,
			   struct fuse_file_info *fi)
{
	(void)fi;
	list(request, nodeid, size, off, true);
}

/* overlayfs obeys these names, so nothing that a layer brings is shown under them (KERNEL.md F). */
static bool is_overlay_name(const char *name)
{
	return strncmp(name, "trusted.overlay.", 16) == 0 || strncmp(name, "user.overlay.", 13) == 0;
}

static void reply_xattr(fuse_req_t request, const void *data, size_t length, size_t size)
{
	if (size == 0)
		fuse_reply_xattr(request, length);
	else if (length > size)
		fuse_reply_err(request, ERANGE);
	else
		fuse_reply_buf(request, data, length);
}

/* The one request that is never cached (KERNEL.md I), so it is cheap. */
static void op_getxattr(fuse_req_t request, fuse_ino_t nodeid, const char *name, size_t size)
{
	_cleanup_(place_close) struct place p;
	const void *value;
	size_t length;
	int r;

	p.image = NULL;
	p.layer = NULL;
	r = is_overlay_name(name) ? -ENODATA : place_open(of(request), nodeid, &p);
	if (r == 0)
		r = !p.layer ? -ENODATA :
			       erofs_read_xattr(layer_store_index(p.layer->store), &p.inode, name, &value, &length);
	if (r < 0)
		reply_error(request, r);
	else
		reply_xattr(request, value, length, size);
}

static int list_xattrs(const struct place *p, struct bytes *names)
{
	struct erofs_xattr x;
	uint64_t cookie = 0;
	int r;

	while ((r = erofs_read_xattr_next(layer_store_index(p->layer->store), &p->inode, &cookie, &x)) == 1) {
		if (is_overlay_name(x.name))
			continue;
		r = bytes_append(names, x.name, strlen(x.name) + 1);
		if (r < 0)
			return r;
	}
	return r;
}

static void op_listxattr(fuse_req_t request, fuse_ino_t nodeid, size_t size)
{
	_cleanup_(place_close) struct place p;
	_cleanup_(bytes_free) struct bytes names = {0};
	int r = place_open(of(request), nodeid, &p);

	if (r == 0 && p.layer)
		r = list_xattrs(&p, &names);
	if (r < 0)
		reply_error(request, r);
	else
		reply_xattr(request, names.data, names.size, size);
}

static void op_statfs(fuse_req_t request, fuse_ino_t nodeid)
{
	struct statvfs s = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = LIMIT_NAME_SIZE};

	(void)nodeid;
	fuse_reply_statfs(request, &s);
}

static void op_init(void *data, struct fuse_conn_info *c)
{
	(void)data;
	c->want &= ~(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_ASYNC_DIO |
		     FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS_AUTO);
	c->want |= c->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_CACHE_SYMLINKS |
				 FUSE_CAP_READDIRPLUS | FUSE_CAP_EXPORT_SUPPORT);
	/* KERNEL.md A and K: parked reads never stall others, and nobody waits for far neighbours. */
	c->max_background = c->congestion_threshold = 192;
	c->max_readahead = 16384;
	c->max_write = READER_SIZE_MAX; /* libfuse makes max_pages of it */
}

static const struct fuse_lowlevel_ops operations = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.readlink = op_readlink,
	.open = op_open,
	.opendir = op_open,
	.flush = op_open,
	.read = op_read,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.statfs = op_statfs,
};

int ops_new(const struct ops_parts *parts, struct ops **ret)
{
	struct ops *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	o->parts = *parts;
	clock_gettime(CLOCK_REALTIME, &o->started);
	id_map_load("/proc/self/uid_map", &o->uids);
	id_map_load("/proc/self/gid_map", &o->gids);
	*ret = o;
	return 0;
}

void ops_free(struct ops **o)
{
	free(*o);
	*o = NULL;
}

int ops_session(struct ops *o, struct fuse_session **ret)
{
	char *name = (char[]){"lazyrun"};
	struct fuse_args args = FUSE_ARGS_INIT(1, &name);

	*ret = fuse_session_new(&args, &operations, sizeof(operations), o);
	return *ret ? 0 : fail(EINVAL, "libfuse does not make a session");
}

void ops_image_removed(struct ops *o, struct fuse_session *se, uint32_t image_number)
{
	char key[IMAGE_KEY_SIZE];

	if (image_view_drop(o->parts.views, image_number, key) == 0)
		fuse_lowlevel_notify_inval_entry(se, NODEID_IMAGES, key, strlen(key));
}
