/* A lookup asks each layer that has the directory, topmost first, until one hides what is below. */
#include "format/tree.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct climb { /* names from a directory up to the root, the directory's own first */
	size_t n;
	struct climb_name {
		const char *name; /* points into an index */
		size_t size;
	} names[LIMIT_DEPTH];
};

void tree_init(struct tree *t, const struct erofs_read *const *layers, size_t n_layers)
{
	bool hidden = false;

	t->n_layers = n_layers < LIMIT_LAYERS ? n_layers : LIMIT_LAYERS;
	for (size_t i = t->n_layers; i-- > 0;) {
		t->layers[i] = hidden ? NULL : layers[i];
		for (size_t j = i + 1; j < t->n_layers && t->layers[i]; j++)
			if (layers[j] == layers[i])
				t->layers[i] = NULL;
		if (t->layers[i]) {
			const struct erofs_inode root = {.nid = t->layers[i]->root_nid};

			hidden = erofs_read_is_opaque(t->layers[i], &root);
		}
	}
}

static void dir_copy(struct tree_dir *to, const struct tree_dir *from)
{
	to->n_parts = from->n_parts;
	memmove(to->parts, from->parts, from->n_parts * sizeof(from->parts[0]));
}

/* A directory has one parent and one name there, so whoever comes down to it could climb back. */
static int check_parent(const struct erofs_read *e, const struct erofs_inode *dir, const struct erofs_inode *parent,
			const char *name, size_t name_size)
{
	struct erofs_entry entry;
	uint32_t up;

	if (erofs_read_lookup(e, dir, "..", 2, &up) < 0 || up != parent->nid || dir->nid == e->root_nid)
		return -EBADMSG;
	if (erofs_read_name_of(e, parent, dir->nid, &entry) < 0 || entry.name_size != name_size ||
	    memcmp(entry.name, name, name_size) != 0)
		return -EBADMSG;
	return 0;
}

static int part_lookup(const struct tree *t, const struct tree_part *part, const char *name,
		       size_t name_size, struct erofs_inode *ret)
{
	const struct erofs_read *e = t->layers[part->position];
	const struct erofs_inode parent = {.nid = part->nid};
	uint32_t nid;
	int r;

	r = erofs_read_lookup(e, &parent, name, name_size, &nid);
	if (r < 0)
		return r == -ENOTDIR ? -EBADMSG : r;
	r = erofs_read_inode(e, nid, ret);
	if (r < 0 || !S_ISDIR(ret->mode))
		return r;
	return check_parent(e, ret, &parent, name, name_size);
}

/* An implied directory says nothing of its own: what the one below says stays. */
static void take_attributes(struct tree_node *node, const struct tree_part *part, const struct erofs_inode *inode,
			    bool first)
{
	if (!first && inode->implied)
		return;
	node->position = part->position;
	node->inode = *inode;
	node->inode.nlink = 1;
}

/* Puts one layer's directory below what was found above it. */
static void dir_add(struct tree_dir *dir, struct tree_node *node, const struct tree_part *part,
		    const struct erofs_inode *inode)
{
	if (dir->n_parts == 0) {
		node->top_position = part->position;
		node->top_nid = inode->nid;
	}
	if (dir->n_parts == 0 || node->inode.implied)
		take_attributes(node, part, inode, dir->n_parts == 0);
	dir->parts[dir->n_parts++] = (struct tree_part){part->position, inode->nid};
}

int tree_root(const struct tree *t, struct tree_dir *ret_dir, struct tree_node *ret_node)
{
	struct tree_dir dir = {.n_parts = 0};
	struct tree_node node = {0};

	for (size_t i = t->n_layers; i-- > 0;) {
		const struct tree_part part = {.position = (uint16_t)i};
		struct erofs_inode inode;
		int r;

		if (!t->layers[i])
			continue;
		r = erofs_read_inode(t->layers[i], t->layers[i]->root_nid, &inode);
		if (r < 0)
			return r;
		dir_add(&dir, &node, &part, &inode);
	}
	if (dir.n_parts == 0)
		return -ENOENT;
	if (ret_dir)
		dir_copy(ret_dir, &dir);
	if (ret_node)
		*ret_node = node;
	return 0;
}

static bool is_dots(const char *name, size_t size)
{
	return size <= 2 && memcmp("..", name, size) == 0;
}

int tree_lookup(const struct tree *t, const struct tree_dir *dir, const char *name, size_t name_size,
		struct tree_node *ret_node, struct tree_dir *ret_dir)
{
	struct tree_node node = {0};
	struct tree_dir found;
	bool hidden = false; /* by an opaque mark: only attributes may still come from below */

	found.n_parts = 0;
	if (is_dots(name, name_size)) /* the empty name too */
		return -ENOENT;
	for (uint32_t i = 0; i < dir->n_parts; i++) {
		const struct tree_part *part = &dir->parts[i];
		struct erofs_inode inode;
		int r = part_lookup(t, part, name, name_size, &inode);

		if (r == -ENOENT)
			continue;
		if (r < 0)
			return r;
		if (!S_ISDIR(inode.mode)) {
			if (found.n_parts > 0 || erofs_inode_is_whiteout(&inode))
				break;
			*ret_node = (struct tree_node){.position = part->position, .inode = inode};
			return 0;
		}
		if (hidden)
			take_attributes(&node, part, &inode, false);
		else
			dir_add(&found, &node, part, &inode);
		hidden = hidden || erofs_read_is_opaque(t->layers[part->position], &inode);
		if ((!ret_dir || hidden) && !node.inode.implied)
			break;
	}
	if (found.n_parts == 0)
		return -ENOENT;
	if (ret_dir)
		dir_copy(ret_dir, &found);
	*ret_node = node;
	return 0;
}

static int climb_up(const struct tree *t, uint16_t position, uint32_t nid, struct climb *ret)
{
	const struct erofs_read *e;

	if (position >= t->n_layers || !t->layers[position])
		return -ENOENT;
	e = t->layers[position];
	for (ret->n = 0; nid != e->root_nid; ret->n++) {
		struct erofs_inode dir = {.nid = nid}, parent = {0};
		struct erofs_entry entry;
		int r;

		if (ret->n == LIMIT_DEPTH)
			return -EBADMSG;
		r = erofs_read_lookup(e, &dir, "..", 2, &parent.nid);
		if (r < 0)
			return r == -ENOENT ? -EBADMSG : r;
		r = erofs_read_name_of(e, &parent, nid, &entry);
		if (r < 0)
			return r;
		ret->names[ret->n] = (struct climb_name){entry.name, entry.name_size};
		nid = parent.nid;
	}
	return 0;
}

/* From the root down through all names but the first `n_left`. */
static int climb_down(const struct tree *t, const struct climb *c, size_t n_left, struct tree_node *ret_node,
		      struct tree_dir *ret_dir)
{
	struct tree_node node;
	struct tree_dir dir;
	int r = tree_root(t, &dir, &node);

	for (size_t i = c->n; r == 0 && i > n_left; i--) {
		r = tree_lookup(t, &dir, c->names[i - 1].name, c->names[i - 1].size, &node, &dir);
		if (r == 0 && !S_ISDIR(node.inode.mode))
			r = -ENOENT;
	}
	if (r < 0)
		return r;
	*ret_node = node;
	dir_copy(ret_dir, &dir);
	return 0;
}

int tree_dir_again(const struct tree *t, uint16_t position, uint32_t nid, struct tree_node *ret_node,
		   struct tree_dir *ret_dir)
{
	struct tree_node node;
	struct tree_dir dir;
	struct climb c;
	int r = climb_up(t, position, nid, &c);

	if (r < 0)
		return r;
	r = climb_down(t, &c, 0, &node, &dir);
	if (r < 0)
		return r;
	/* A layer above may hide this one, or have the directory too: then it has another number. */
	if (node.top_position != position || node.top_nid != nid)
		return -ENOENT;
	if (ret_node)
		*ret_node = node;
	if (ret_dir)
		dir_copy(ret_dir, &dir);
	return 0;
}

int tree_parent(const struct tree *t, const struct tree_dir *dir, struct tree_node *ret_node, struct tree_dir *ret_dir)
{
	struct climb c;
	int r = climb_up(t, dir->parts[0].position, dir->parts[0].nid, &c);

	return r < 0 ? r : climb_down(t, &c, 1, ret_node, ret_dir);
}

/* Whether a layer above part `i` says anything of the name, be it a whiteout. */
static int is_hidden(const struct tree *t, const struct tree_dir *dir, uint32_t i, const struct erofs_entry *entry)
{
	const struct erofs_read *e = t->layers[dir->parts[i].position];
	struct erofs_inode inode;
	uint32_t nid;
	int r;

	for (uint32_t above = 0; above < i; above++) {
		const struct erofs_inode parent = {.nid = dir->parts[above].nid};

		r = erofs_read_lookup(t->layers[dir->parts[above].position], &parent, entry->name,
				      entry->name_size, &nid);
		if (r != -ENOENT)
			return r < 0 ? r : 1;
	}
	if (entry->type != DT_CHR)
		return 0;
	r = erofs_read_inode(e, entry->nid, &inode);
	return r < 0 ? r : erofs_inode_is_whiteout(&inode);
}

/* A cookie is the part's place in the list, and the cookie of erofs_read in the low 32 bits. */
int tree_entry(const struct tree *t, const struct tree_dir *dir, uint64_t cookie, struct tree_entry *ret)
{
	uint64_t within = (uint32_t)cookie;

	for (uint64_t i = cookie >> 32; i < dir->n_parts; i++, within = 0) {
		const struct tree_part *part = &dir->parts[i];
		const struct erofs_inode inode = {.nid = part->nid};
		struct erofs_entry entry;
		int r;

		while ((r = erofs_read_entry(t->layers[part->position], &inode, &within, &entry)) == 1) {
			if (is_dots(entry.name, entry.name_size))
				continue;
			r = is_hidden(t, dir, (uint32_t)i, &entry);
			if (r < 0)
				return r;
			if (r)
				continue;
			*ret = (struct tree_entry){.name = entry.name,
						   .name_size = entry.name_size,
						   .type = entry.type,
						   .position = part->position,
						   .nid = entry.nid,
						   .cookie = i << 32 | within};
			return 1;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

struct walk { /* texts still to be walked, the innermost symlink's on top */
	size_t n;
	struct walk_text {
		const char *at;
		size_t size;
	} texts[LIMIT_SYMLINKS + 1];
	struct tree_node node; /* where the walk stands: a directory */
	struct tree_dir dir;
};

/* Cuts the next component off; false at the end. */
static bool walk_next(struct walk *w, const char **ret_name, size_t *ret_size)
{
	while (w->n > 0) {
		struct walk_text *text = &w->texts[w->n - 1];
		const char *slash;

		for (; text->size > 0 && *text->at == '/'; text->at++)
			text->size--;
		if (text->size == 0) {
			w->n--;
			continue;
		}
		slash = memchr(text->at, '/', text->size);
		*ret_name = text->at;
		*ret_size = slash ? (size_t)(slash - text->at) : text->size;
		text->at += *ret_size;
		text->size -= *ret_size;
		return true;
	}
	return false;
}

/* A slash behind the last component counts: it asks for a directory. */
static bool walk_ends(const struct walk *w)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->texts[i].size > 0)
			return false;
	return true;
}

static int walk_link(const struct tree *t, struct walk *w, const struct tree_node *link, unsigned int *n_links)
{
	const char *target;
	size_t size;
	int r;

	if ((*n_links)++ == LIMIT_SYMLINKS)
		return -ELOOP;
	r = erofs_read_symlink(t->layers[link->position], &link->inode, &target, &size);
	if (r < 0)
		return r;
	w->texts[w->n++] = (struct walk_text){target, size};
	return *target == '/' ? tree_root(t, &w->dir, &w->node) : 0;
}

int tree_resolve(const struct tree *t, const char *path, bool follow, struct tree_node *ret_node, struct tree_dir *ret_dir)
{
	struct walk w = {.n = 1, .texts = {{path, strlen(path)}}};
	unsigned int n_links = 0;
	struct tree_node node;
	const char *name;
	size_t size;
	int r = *path ? tree_root(t, &w.dir, &w.node) : -ENOENT;

	while (r == 0 && walk_next(&w, &name, &size)) {
		if (size <= 2 && is_dots(name, size)) {
			r = size == 1 ? 0 : tree_parent(t, &w.dir, &w.node, &w.dir);
			continue;
		}
		r = tree_lookup(t, &w.dir, name, size, &node, &w.dir);
		if (r < 0)
			return r;
		if (S_ISDIR(node.inode.mode)) {
			w.node = node;
		} else if (S_ISLNK(node.inode.mode) && (follow || !walk_ends(&w))) {
			r = walk_link(t, &w, &node, &n_links);
		} else if (!walk_ends(&w)) {
			return -ENOTDIR;
		} else {
			*ret_node = node;
			return 0;
		}
	}
	if (r < 0)
		return r;
	*ret_node = w.node;
	if (ret_dir)
		dir_copy(ret_dir, &w.dir);
	return 0;
}
