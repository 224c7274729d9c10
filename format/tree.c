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

/* To the part's next entry that is neither "." nor "..". Where names do not ascend, each call would pass over all of them. */
static int cursor_next(const struct tree_list *l, uint32_t part, struct tree_cursor *c)
{
	const struct erofs_inode dir = {.nid = l->dir->parts[part].nid};
	const struct erofs_entry before = c->entry;
	int r;

	do
		r = erofs_read_entry(l->tree->layers[l->dir->parts[part].position], &dir, &c->behind, &c->entry);
	while (r == 1 && is_dots(c->entry.name, c->entry.name_size));
	if (r == 1 && before.name && erofs_read_compare(c->entry.name, c->entry.name_size, before.name, before.name_size) <= 0)
		r = -EBADMSG;
	c->ended = r != 1;
	return r < 0 ? r : 0;
}

/* A cookie is the part's place in the list, and in the low 32 bits where the part is read on, one slot behind the entry. */
int tree_list_begin(const struct tree *tree, const struct tree_dir *dir, uint64_t cookie, struct tree_list *ret)
{
	const uint64_t from = cookie >> 32;
	int r = 0;

	ret->tree = tree;
	ret->dir = dir;
	ret->last = NULL;
	ret->n_parts = 0;
	if (cookie) {
		uint64_t within = (uint32_t)cookie - UINT64_C(1);
		struct erofs_entry last;

		if (from >= dir->n_parts)
			return 0;
		r = erofs_read_entry(tree->layers[dir->parts[from].position], &(struct erofs_inode){.nid = dir->parts[from].nid},
				     &within, &last);
		if (r <= 0)
			return r;
		ret->last = last.name;
		ret->last_size = last.name_size;
	}
	for (uint32_t i = 0; i < dir->n_parts; i++) {
		struct tree_cursor *c = &ret->parts[i];

		*c = (struct tree_cursor){.behind = 0};
		if (ret->last)
			r = erofs_read_seek(tree->layers[dir->parts[i].position], &(struct erofs_inode){.nid = dir->parts[i].nid},
					    ret->last, ret->last_size, &c->behind);
		if (r >= 0)
			r = cursor_next(ret, i, c);
		if (r < 0)
			return r;
	}
	ret->n_parts = dir->n_parts;
	return 0;
}

/* The topmost of those with the smallest name that is behind the last one; NULL: there is none. */
static int find_smallest(struct tree_list *l, struct tree_cursor **ret)
{
	struct tree_cursor *smallest = NULL;

	for (uint32_t i = 0; i < l->n_parts; i++) {
		struct tree_cursor *c = &l->parts[i];
		const struct erofs_entry *e = &c->entry;

		while (!c->ended && l->last && erofs_read_compare(e->name, e->name_size, l->last, l->last_size) <= 0) {
			int r = cursor_next(l, i, c);

			if (r < 0)
				return r;
		}
		if (!c->ended && (!smallest || erofs_read_compare(e->name, e->name_size, smallest->entry.name, smallest->entry.name_size) < 0))
			smallest = c;
	}
	*ret = smallest;
	return 0;
}

/* What a layer says of a name hides what those below say, be it a whiteout. */
int tree_list_next(struct tree_list *l, struct tree_entry *ret)
{
	struct tree_cursor *c;
	int r;

	while ((r = find_smallest(l, &c)) == 0 && c) {
		const struct erofs_entry *e = &c->entry;
		const uint32_t part = (uint32_t)(c - l->parts);
		const uint16_t position = l->dir->parts[part].position;
		struct erofs_inode inode;

		l->last = e->name;
		l->last_size = e->name_size;
		if (e->type == DT_CHR) {
			r = erofs_read_inode(l->tree->layers[position], e->nid, &inode);
			if (r < 0)
				return r;
			if (erofs_inode_is_whiteout(&inode))
				continue;
		}
		*ret = (struct tree_entry){.name = e->name,
					   .name_size = e->name_size,
					   .type = e->type,
					   .position = position,
					   .nid = e->nid,
					   .cookie = (uint64_t)part << 32 | c->behind};
		return 1;
	}
	return r;
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
