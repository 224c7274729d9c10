/* Each member finds its directory by name, inside its own layer, and puts a node there. */
#include "format/layer_builder.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "format/erofs_format.h"
#include "format/erofs_write.h"
#include "format/erofs_xattr.h"
#include "format/layer_tree.h"
#include "format/member_path.h"
#include "format/whiteout.h"

struct layer_builder {
	struct layer_tree *tree;
	struct erofs_layout layout;
	struct layer_copy *copies; /* in the arena */
	size_t n_copies;
	struct bytes xattrs; /* of the member at hand */
	uint64_t n_members;
	uint64_t n_fragments;
	uint64_t bodies_end; /* in the tar */
	uint64_t passed;     /* bytes of the tar, so far */
	bool finished;
};

int layer_builder_new(struct layer_builder **ret)
{
	_cleanup_(layer_builder_free) struct layer_builder *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->tree = layer_tree_new();
	if (!b->tree)
		return -ENOMEM;
	*ret = TAKE(b);
	return 0;
}

void layer_builder_free(struct layer_builder **b)
{
	if (*b) {
		layer_tree_free(&(*b)->tree);
		bytes_free(&(*b)->xattrs);
	}
	free(*b);
	*b = NULL;
}

static const char *type_name(const struct layer_node *node)
{
	switch (node->mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFLNK:
		return "a symlink";
	case S_IFREG:
		return "a file";
	default:
		return "a special file";
	}
}

/* Finds or makes the entry of one component below `dir`. */
static int enter(struct layer_builder *b, struct layer_node *dir, const char *name, size_t size,
		 const char *member, struct layer_entry **ret)
{
	if (b->tree->n_entries >= LIMIT_LAYER_ENTRIES)
		return fail(EFBIG, "member %.200s: its layer has more than %u files", member, LIMIT_LAYER_ENTRIES);
	if (dir->dir.n_entries >= LIMIT_DIRECTORY_ENTRIES)
		return fail(EFBIG, "member %.200s: its directory has more than %u files", member,
			    LIMIT_DIRECTORY_ENTRIES);
	*ret = layer_tree_enter(b->tree, dir, name, size);
	return *ret ? 0 : -ENOMEM;
}

/* Goes down to the parent of the path's last component, making directories that no member named yet. */
static int enter_parent(struct layer_builder *b, const struct member_path *path, struct layer_node **ret_dir,
			struct member_name *ret_name)
{
	struct member_path walk = *path;
	struct layer_node *dir = b->tree->root;
	struct layer_entry *e;

	while (member_path_next(&walk, ret_name) && !ret_name->last) {
		int r = enter(b, dir, ret_name->name, ret_name->size, path->text, &e);

		if (r < 0)
			return r;
		if (!e->node) {
			e->node = layer_tree_node(b->tree, S_IFDIR | 0755);
			if (!e->node)
				return -ENOMEM;
			e->node->dir.parent = dir;
			e->node->dir.implied = true;
		}
		/* Names are matched, never resolved: where a symlink leads is not looked at. */
		if (!S_ISDIR(e->node->mode))
			return fail(EBADMSG, "member %.200s: below %.*s, which is %s in the same layer", path->text,
				    (int)(ret_name->name + ret_name->size - path->text), path->text,
				    type_name(e->node));
		dir = e->node;
	}
	*ret_dir = dir;
	return 0;
}

/* Walks without making anything. NULL: nothing stands there. */
static struct layer_node *find_node(const struct layer_builder *b, const struct member_path *path)
{
	struct member_path walk = *path;
	struct layer_node *node = b->tree->root;
	struct member_name name;

	while (node && member_path_next(&walk, &name)) {
		struct layer_entry *e =
			S_ISDIR(node->mode) ? layer_tree_find(b->tree, node, name.name, name.size) : NULL;

		node = e ? e->node : NULL;
	}
	return node;
}

static uint32_t mode_of_type(enum tar_type type)
{
	switch (type) {
	case TAR_FILE:
		return S_IFREG;
	case TAR_SYMLINK:
		return S_IFLNK;
	case TAR_CHARACTER_DEVICE:
		return S_IFCHR;
	case TAR_BLOCK_DEVICE:
		return S_IFBLK;
	case TAR_DIRECTORY:
		return S_IFDIR;
	case TAR_FIFO:
		return S_IFIFO;
	case TAR_HARD_LINK:
		break;
	}
	return 0;
}

static int set_device(struct layer_node *node, const struct tar_member *m)
{
	if (m->type == TAR_CHARACTER_DEVICE && m->major == 0 && m->minor == 0)
		return fail(EBADMSG, "member %.200s: a character device 0:0 is how overlayfs marks a removed file; refused",
			    m->path);
	if (m->major > 0xfff || m->minor > 0xfffff)
		return fail(EBADMSG, "member %.200s: no device has the number %u:%u", m->path, m->major, m->minor);
	node->rdev = (m->minor & 0xff) | m->major << 8 | (m->minor & 0xfff00) << 12;
	return 0;
}

static int set_symlink(struct layer_builder *b, struct layer_node *node, const struct tar_member *m)
{
	size_t size = strlen(m->link);
	char *target;

	if (size == 0)
		return fail(EBADMSG, "member %.200s: a symlink to nothing", m->path);
	if (size > LIMIT_PATH_SIZE)
		return fail(EFBIG, "member %.200s: a symlink's target of %zu bytes, allowed are %u", m->path, size,
			    LIMIT_PATH_SIZE);
	target = arena_alloc(&b->tree->arena, size);
	if (!target)
		return -ENOMEM;
	memcpy(target, m->link, size);
	node->symlink.target = target;
	node->symlink.size = (uint32_t)size;
	return 0;
}

/* The fragments are kept for layer_builder_copy(), all but the empty ones. */
static int set_sparse(struct layer_builder *b, struct layer_node *node, const struct tar_member *m)
{
	struct tar_fragment *kept;

	if (m->n_fragments > LIMIT_LAYER_FRAGMENTS - b->n_fragments)
		return fail(EFBIG, "member %.200s: its layer has sparse files of more than %u parts", m->path,
			    LIMIT_LAYER_FRAGMENTS);
	kept = arena_alloc(&b->tree->arena, (m->n_fragments + 1) * sizeof(*kept));
	if (!kept)
		return -ENOMEM;
	node->file.fragments = kept;
	for (size_t i = 0; i < m->n_fragments; i++) {
		const struct tar_fragment *f = &m->fragments[i];

		if (f->size == 0)
			continue;
		if (f->off > m->size || f->size > m->size - f->off || f->body_off > LIMIT_LAYER_FILE_SIZE)
			return fail(EBADMSG, "member %.200s: a part of it lies outside", m->path);
		if (f->body_off + f->size > b->bodies_end)
			b->bodies_end = f->body_off + f->size;
		kept[node->file.n_fragments++] = *f;
	}
	b->n_fragments += node->file.n_fragments;
	return 0;
}

static int set_file(struct layer_builder *b, struct layer_node *node, const struct tar_member *m)
{
	const struct tar_fragment *f = m->fragments;

	if (m->size > LIMIT_LAYER_FILE_SIZE)
		return fail(EFBIG, "member %.200s: %llu bytes are more than a layer may have", m->path,
			    (unsigned long long)m->size);
	node->file.size = m->size;
	node->file.off = m->body_off;
	if (m->size == 0)
		return 0;
	if (m->sparse) {
		/* A single part that is the whole file needs no second place. */
		if (m->n_fragments != 1 || f->off != 0 || f->size != m->size || f->body_off % EROFS_BLOCK)
			return set_sparse(b, node, m);
		node->file.off = f->body_off;
	}
	if (node->file.off % EROFS_BLOCK || node->file.off > LIMIT_LAYER_FILE_SIZE)
		return fail(EBADMSG, "member %.200s: its body begins at %llu, not at a multiple of 512", m->path,
			    (unsigned long long)node->file.off);
	if (node->file.off + m->size > b->bodies_end)
		b->bodies_end = node->file.off + m->size;
	return 0;
}

static int set_content(struct layer_builder *b, struct layer_node *node, const struct tar_member *m)
{
	switch (m->type) {
	case TAR_FILE:
		return set_file(b, node, m);
	case TAR_SYMLINK:
		return set_symlink(b, node, m);
	case TAR_CHARACTER_DEVICE:
	case TAR_BLOCK_DEVICE:
		return set_device(node, m);
	case TAR_DIRECTORY:
	case TAR_FIFO:
	case TAR_HARD_LINK:
		break;
	}
	return 0;
}

static int set_xattrs(struct layer_builder *b, struct layer_node *node, const struct tar_member *m)
{
	uint8_t *xattrs;
	int r;

	b->xattrs.size = 0;
	r = m->n_xattrs ? erofs_xattr_pack(m->path, m->xattrs, m->n_xattrs, &b->xattrs) : 0;
	if (r < 0)
		return r;
	xattrs = arena_alloc(&b->tree->arena, b->xattrs.size);
	if (!xattrs)
		return -ENOMEM;
	if (b->xattrs.size)
		memcpy(xattrs, b->xattrs.data, b->xattrs.size);
	node->xattrs = xattrs;
	node->xattrs_size = (uint32_t)b->xattrs.size;
	return 0;
}

static int set_attributes(struct layer_builder *b, struct layer_node *node, const struct tar_member *m)
{
	node->mode = mode_of_type(m->type) | (m->mode & 07777);
	node->uid = m->uid;
	node->gid = m->gid;
	node->mtime = m->mtime;
	node->mtime_nsec = m->mtime_nsec;
	if (S_ISDIR(node->mode))
		node->dir.implied = false;
	return set_xattrs(b, node, m);
}

/* What a name held is gone with all below it; only a directory over a directory keeps its content. */
static void replace(struct layer_entry *e, struct layer_node *node)
{
	/* Whoever unpacks the members one by one has removed the lower layers' directory by now. */
	if (e->node && !S_ISDIR(e->node->mode) && S_ISDIR(node->mode))
		e->hides = true;
	e->node = node;
}

static int add_link(struct layer_builder *b, struct layer_entry *e, const struct tar_member *m)
{
	struct member_path target;
	struct layer_node *node;
	int r = member_path_check(m->link, &target);

	if (r < 0)
		return r;
	node = find_node(b, &target);
	if (!node)
		return fail(EBADMSG, "member %.200s: a hard link to %.200s, which its layer does not hold", m->path,
			    m->link);
	if (S_ISDIR(node->mode))
		return fail(EBADMSG, "member %.200s: a hard link to %.200s, which is a directory", m->path, m->link);
	replace(e, node);
	return 0;
}

static int add_ordinary(struct layer_builder *b, const struct member_path *path, const struct tar_member *m)
{
	struct layer_node *dir, *node;
	struct layer_entry *e;
	struct member_name name;
	int r;

	if (path->n_components == 0) {
		if (m->type != TAR_DIRECTORY)
			return fail(EBADMSG, "member %.200s: the root of a layer must be a directory", m->path);
		return set_attributes(b, b->tree->root, m);
	}
	r = enter_parent(b, path, &dir, &name);
	if (r < 0)
		return r;
	r = enter(b, dir, name.name, name.size, m->path, &e);
	if (r < 0)
		return r;
	if (m->type == TAR_HARD_LINK)
		return add_link(b, e, m);
	if (m->type == TAR_DIRECTORY && e->node && S_ISDIR(e->node->mode))
		return set_attributes(b, e->node, m);
	node = layer_tree_node(b->tree, mode_of_type(m->type));
	if (!node)
		return -ENOMEM;
	if (m->type == TAR_DIRECTORY)
		node->dir.parent = dir;
	r = set_attributes(b, node, m);
	if (r == 0)
		r = set_content(b, node, m);
	if (r == 0)
		replace(e, node);
	return r;
}

static int add_whiteout(struct layer_builder *b, const struct member_path *path, const struct whiteout *w)
{
	struct layer_node *dir;
	struct layer_entry *e;
	struct member_name name;
	int r = enter_parent(b, path, &dir, &name);

	if (r < 0)
		return r;
	if (w->kind == WHITEOUT_OPAQUE) {
		dir->dir.opaque = true;
		return 0;
	}
	/* It hides lower layers only: what this layer has under the name stays, whatever the order. */
	r = enter(b, dir, w->name, w->name_size, path->text, &e);
	if (r == 0)
		e->hides = true;
	return r;
}

uint64_t layer_builder_allowed(uint64_t passed)
{
	if (passed > (LIMIT_LAYER_BUILDER_SIZE - LIMIT_LAYER_BUILDER_FREE) / LIMIT_LAYER_BUILDER_RATIO)
		return LIMIT_LAYER_BUILDER_SIZE;
	return LIMIT_LAYER_BUILDER_FREE + LIMIT_LAYER_BUILDER_RATIO * passed;
}

/* A global pax header gives its xattrs to every member behind it: a few KiB of gzip would become all that is allowed. */
static int check_memory(struct layer_builder *b, const struct tar_member *m)
{
	uint64_t allowed;

	if (m->body_off > b->passed)
		b->passed = m->body_off;
	allowed = layer_builder_allowed(b->passed);
	if (b->tree->arena.total > allowed)
		return fail(EFBIG, "member %.200s: names and xattrs of its layer need more than %llu bytes", m->path,
			    (unsigned long long)allowed);
	return 0;
}

int layer_builder_add(struct layer_builder *b, const struct tar_member *m)
{
	struct member_path path;
	struct whiteout w;
	int r;

	assert(!b->finished);
	if (++b->n_members > LIMIT_LAYER_ENTRIES)
		return fail(EFBIG, "member %.200s: its layer has more than %u members", m->path, LIMIT_LAYER_ENTRIES);
	r = check_memory(b, m);
	if (r == 0)
		r = member_path_check(m->path, &path);
	if (r == 0)
		r = whiteout_classify(&path, &w);
	if (r < 0)
		return r;
	switch (w.kind) {
	case WHITEOUT_NONE:
		return add_ordinary(b, &path, m);
	case WHITEOUT_NAME:
	case WHITEOUT_OPAQUE:
		return add_whiteout(b, &path, &w);
	case WHITEOUT_IGNORE:
		break;
	}
	return 0;
}

static int list_copies(struct layer_builder *b)
{
	size_t n = 0;

	for (const struct layer_node *node = b->layout.first_sparse; node; node = node->file.next_sparse)
		n += node->file.n_fragments;
	b->copies = arena_alloc(&b->tree->arena, n * sizeof(b->copies[0]));
	if (!b->copies)
		return -ENOMEM;
	for (const struct layer_node *node = b->layout.first_sparse; node; node = node->file.next_sparse)
		for (size_t i = 0; i < node->file.n_fragments; i++) {
			const struct tar_fragment *f = &node->file.fragments[i];

			b->copies[b->n_copies++] =
				(struct layer_copy){f->body_off, node->file.off + f->off, f->size};
		}
	return 0;
}

int layer_builder_feed(struct layer_builder *b, struct tar *t, const uint8_t *data, size_t size)
{
	while (size > 0) {
		struct tar_member member;
		size_t used = 0;
		int r = tar_next(t, data, size, &used, &member);

		if (r < 0)
			return r;
		data += used;
		size -= used;
		if (r == 0)
			continue;
		r = layer_builder_add(b, &member);
		if (r < 0)
			return r;
	}
	return 0;
}

int layer_builder_finish(struct layer_builder *b, uint64_t tar_size, uint64_t *ret_index_size,
			 uint64_t *ret_layer_file_size)
{
	int r;

	assert(!b->finished);
	if (b->bodies_end > tar_size)
		return fail(EBADMSG, "the layer's tar ends at %llu, inside a file that goes on to %llu",
			    (unsigned long long)tar_size, (unsigned long long)b->bodies_end);
	r = erofs_write_layout(b->tree, tar_size, &b->layout);
	if (r == 0)
		r = list_copies(b);
	if (r < 0)
		return r;
	b->finished = true;
	*ret_index_size = b->layout.index_size;
	*ret_layer_file_size = b->layout.layer_file_size;
	return 0;
}

int layer_builder_copy(const struct layer_builder *b, uint64_t *cookie, struct layer_copy *ret)
{
	assert(b->finished);
	if (*cookie >= b->n_copies)
		return 0;
	*ret = b->copies[(*cookie)++];
	return 1;
}

void layer_builder_render(const struct layer_builder *b, void *out)
{
	assert(b->finished);
	erofs_write_render(&b->layout, out);
}
