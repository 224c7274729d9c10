/* One function for each operation; each finds its node by number, asks the layer index and replies. */
#include "fs/ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/report.h"
#include "fs/listing.h"
#include "fs/readahead.h"

struct ops {
	struct places *places;
	struct reader *reader;
};

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

static int image_root(struct places *all, const char *key, struct fuse_entry_param *e)
{
	_cleanup_(image_view_close) struct image_view *image = NULL;
	struct tree_node n;
	struct tree_dir dir;
	uint32_t number;
	int r;

	if (number_table_find_image(all->numbers, key, &number) < 0)
		return -ENOENT;
	r = image_view_open(all->views, number, &image);
	if (r == 0)
		r = tree_root(&image->tree, &dir, &n);
	if (r == 0)
		place_node_entry(all, image, &n, &dir, e);
	return r;
}

/* "." and "..": who decodes a file handle asks for them (overlayfs does, for what was copied up). */
static int lookup_dots(struct places *all, struct place *p, bool up, struct fuse_entry_param *e)
{
	struct tree_node n;
	struct tree_dir dir;
	int r;

	if (p->node.kind == NODE_ROOT || p->node.kind == NODE_IMAGES) {
		place_own_entry(all, up ? NODE_ROOT : p->node.kind, e);
		return 0;
	}
	if (p->node.kind == NODE_FILE) {
		if (up)
			return -ENOTDIR;
		place_file_entry(all, p, e);
		return 0;
	}
	r = tree_root(&p->image->tree, &dir, &n);
	if (r == 0 && up && n.top_position == p->node.position && n.top_nid == p->node.nid) {
		place_own_entry(all, NODE_IMAGES, e);
		return 0;
	}
	r = up ? tree_parent(&p->image->tree, &p->dir, &n, &dir) :
		 tree_dir_again(&p->image->tree, p->node.position, p->node.nid, &n, &dir);
	if (r == 0)
		place_node_entry(all, p->image, &n, &dir, e);
	return r;
}

static int lookup(struct places *all, fuse_ino_t parent, const char *name, struct fuse_entry_param *e)
{
	_cleanup_(place_close) struct place p;
	size_t size = strlen(name);
	struct tree_node n;
	struct tree_dir dir;
	int r = place_open(all, parent, &p);

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		if (r == -ESTALE)
			return -ENOENT; /* of "." the kernel makes ESTALE itself, of ESTALE an error */
		return r < 0 ? r : lookup_dots(all, &p, size == 2, e);
	}
	if (r < 0)
		return r;
	if (size > LIMIT_NAME_SIZE)
		return -ENAMETOOLONG;
	switch (p.node.kind) {
	case NODE_ROOT:
		if (strcmp(name, PLACE_IMAGES_NAME) != 0)
			return -ENOENT;
		place_own_entry(all, NODE_IMAGES, e);
		return 0;
	case NODE_IMAGES:
		return image_root(all, name, e);
	case NODE_FILE:
		return -ENOTDIR;
	case NODE_DIR:
		break;
	}
	r = tree_lookup(&p.image->tree, &p.dir, name, size, &n, &dir);
	if (r == 0)
		place_node_entry(all, p.image, &n, &dir, e);
	if (r == -ENOENT) {
		e->ino = 0; /* never comes to be: the kernel may remember that */
		e->entry_timeout = PLACE_FOREVER;
		r = 0;
	}
	return r;
}

static void op_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = {0};
	int r = lookup(of(request)->places, parent, name, &e);

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
	struct places *all = of(request)->places;
	int r = place_open(all, nodeid, &p);
	struct stat st;
	double timeout;

	(void)fi;
	if (r < 0) {
		reply_error(request, r);
		return;
	}
	place_stat(all, &p, &st, &timeout);
	fuse_reply_attr(request, &st, timeout);
}

static void op_readlink(fuse_req_t request, fuse_ino_t nodeid)
{
	_cleanup_(place_close) struct place p;
	const char *target;
	size_t size;
	int r = place_open(of(request)->places, nodeid, &p);

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
	int r = place_open(o->places, nodeid, &p);
	bool readahead = readahead_is(fi, size);

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
	if (readahead && reader_refuses(o->reader, p.layer, p.inode.data_off + (uint64_t)off, size)) {
		fuse_reply_err(request, EIO);
		return;
	}
	number_table_touch(o->places->numbers, p.layer->number, p.inode.data_off + (uint64_t)off);
	reader_read(o->reader, request, TAKE(p.layer), p.inode.data_off, p.inode.data_off + (uint64_t)off, size);
}

static void list(fuse_req_t request, fuse_ino_t nodeid, size_t size, off_t off, bool plus)
{
	_cleanup_(place_close) struct place p;
	char data[READER_SIZE_MAX];
	struct places *all = of(request)->places;
	size_t room = size < sizeof(data) ? size : sizeof(data), used = 0;
	int r = place_open(all, nodeid, &p);

	if (r == 0)
		r = listing_fill(all, &p, request, plus, (uint64_t)off, data, room, &used);
	/* What was listed before a broken entry is still true. */
	if (r < 0 && used == 0)
		reply_error(request, r);
	else
		fuse_reply_buf(request, data, used);
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
	r = is_overlay_name(name) ? -ENODATA : place_open(of(request)->places, nodeid, &p);
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
	int r = place_open(of(request)->places, nodeid, &p);

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
	c->max_readahead = READAHEAD_MAX;
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

int ops_new(struct places *places, struct reader *reader, struct ops **ret)
{
	struct ops *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	*o = (struct ops){places, reader};
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
