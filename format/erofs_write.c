/* First everything gets its place, then everything is written there: no byte is ever moved. */
#include "format/erofs_write.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/report.h"
#include "format/erofs_format.h"

#define PAGE 4096u
#define SLOT_BITS 6 /* of a cookie, as erofs_read.c has it */

static struct layer_entry dot = {.name_size = 1, .name = "."};
static struct layer_entry dot_dot = {.name_size = 2, .name = ".."};

/* What overlayfs reads of a directory (KERNEL.md F). */
static const uint8_t xattr_opaque[20] = "\x0e\x04\x01\x00overlay.opaquey";
static const uint8_t xattr_origin[20] = "\x0e\x04\x00\x00overlay.origin";

struct placing {
	struct erofs_layout *l;
	uint64_t pos;	   /* where the next inode may begin */
	uint64_t n_blocks; /* of the data part */
	uint64_t data_end; /* of the layer file */
	struct layer_node *stack;
	struct layer_node **last_dir;
	struct layer_node **last_sparse;
};

static uint64_t round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

static bool is_opaque(const struct layer_node *node)
{
	return S_ISDIR(node->mode) && node->dir.opaque;
}

static bool has_whiteout(const struct layer_node *node)
{
	return S_ISDIR(node->mode) && node->dir.has_whiteout;
}

/* Of the area behind the inode, header included; 0 when there are no xattrs. */
static uint32_t xattrs_size(const struct layer_node *node)
{
	uint32_t size = node->xattrs_size;

	size += is_opaque(node) ? (uint32_t)sizeof(xattr_opaque) : 0;
	size += has_whiteout(node) ? (uint32_t)sizeof(xattr_origin) : 0;
	return size ? size + (uint32_t)sizeof(struct erofs_disk_xattr_header) : 0;
}

static int compare_entries(const void *a, const void *b)
{
	const struct layer_entry *x = *(const struct layer_entry *const *)a;
	const struct layer_entry *y = *(const struct layer_entry *const *)b;
	int r = memcmp(x->name, y->name, x->name_size < y->name_size ? x->name_size : y->name_size);

	return r ? r : x->name_size - y->name_size;
}

/* How many entries from `from` on share a block: each takes its fixed part and its name. */
static uint32_t block_end(const struct layer_node *dir, uint32_t from)
{
	size_t used = 0;
	uint32_t to = from;

	for (; to < dir->dir.n_sorted; to++) {
		used += sizeof(struct erofs_disk_dirent) + dir->dir.sorted[to]->name_size;
		if (used > EROFS_BLOCK)
			break;
	}
	return to;
}

/* Sorts the names; after that the sizes of the directory's inode and blocks are known. */
static int prepare_dir(struct placing *p, struct layer_node *dir)
{
	uint32_t n = 0;

	dir->dir.sorted = arena_alloc(&p->l->tree->arena, (dir->dir.n_entries + 2ul) * sizeof(dir->dir.sorted[0]));
	if (!dir->dir.sorted)
		return -ENOMEM;
	dir->dir.sorted[n++] = &dot;
	dir->dir.sorted[n++] = &dot_dot;
	for (struct layer_entry *e = dir->dir.entries; e; e = e->next_in_dir) {
		dir->dir.sorted[n++] = e;
		dir->dir.has_whiteout |= !e->node;
	}
	dir->dir.n_sorted = n;
	qsort(dir->dir.sorted, n, sizeof(dir->dir.sorted[0]), compare_entries);
	for (uint32_t i = 0; i < n; i = block_end(dir, i))
		dir->dir.n_blocks++;
	dir->nlink = 2;
	return 0;
}

/* The body of a sparse file is spread over the tar: it stands once more, whole, behind the tar's end. */
static int place_sparse(struct placing *p, struct layer_node *node)
{
	node->file.off = p->data_end;
	p->data_end += round_up(node->file.size, PAGE);
	if (p->data_end > LIMIT_LAYER_FILE_SIZE)
		return fail(EFBIG, "the layer's tar and its sparse files, expanded, pass %llu bytes",
			    (unsigned long long)LIMIT_LAYER_FILE_SIZE);
	*p->last_sparse = node;
	p->last_sparse = &node->file.next_sparse;
	return 0;
}

static int fail_index_size(void)
{
	return fail(EFBIG, "the layer index would be larger than %llu bytes",
		    (unsigned long long)LIMIT_LAYER_INDEX_SIZE);
}

static int place_node(struct placing *p, struct layer_node *node)
{
	uint64_t size = sizeof(struct erofs_disk_inode) + xattrs_size(node);
	uint64_t whole = sizeof(struct erofs_disk_inode); /* must not cross a block */

	if (S_ISREG(node->mode) && node->file.size > 0) {
		size = round_up(size, sizeof(struct erofs_disk_chunk)) + sizeof(struct erofs_disk_chunk);
	} else if (S_ISLNK(node->mode)) {
		node->symlink.inlined = size + node->symlink.size <= EROFS_BLOCK;
		if (node->symlink.inlined)
			whole = size += node->symlink.size;
		else
			node->symlink.block = (uint32_t)p->n_blocks;
		p->n_blocks += node->symlink.inlined ? 0 : round_up(node->symlink.size, EROFS_BLOCK) / EROFS_BLOCK;
	}
	p->pos = round_up(p->pos, EROFS_NID);
	if (p->pos % EROFS_BLOCK + whole > EROFS_BLOCK)
		p->pos = round_up(p->pos, EROFS_BLOCK);
	node->index_off = p->pos;
	node->ino = (uint32_t)++p->l->n_inodes;
	p->pos += size;
	if (p->pos > LIMIT_LAYER_INDEX_SIZE)
		return fail_index_size();
	return S_ISREG(node->mode) && node->file.fragments ? place_sparse(p, node) : 0;
}

static int place_whiteout(struct placing *p)
{
	if (p->l->whiteout)
		return 0;
	p->l->whiteout = layer_tree_node(p->l->tree, S_IFCHR);
	return p->l->whiteout ? place_node(p, p->l->whiteout) : -ENOMEM;
}

static int place_entry(struct placing *p, struct layer_node *dir, const struct layer_entry *e, uint64_t cookie)
{
	struct layer_node *node = e->node;
	int r = 0;

	if (e == &dot || e == &dot_dot)
		return 0;
	if (!node) {
		r = place_whiteout(p);
		if (r == 0)
			p->l->whiteout->nlink++;
		return r;
	}
	if (S_ISDIR(node->mode)) {
		node->dir.parent_cookie = (uint32_t)cookie;
		node->dir.opaque |= e->hides;
		p->l->n_implied += node->dir.implied;
		dir->nlink++;
		r = prepare_dir(p, node);
		return r < 0 ? r : place_node(p, node);
	}
	node->nlink++;
	return node->index_off ? 0 : place_node(p, node);
}

static int place_children(struct placing *p, struct layer_node *dir)
{
	uint64_t block = 0;

	dir->dir.block = (uint32_t)p->n_blocks;
	p->n_blocks += dir->dir.n_blocks;
	for (uint32_t from = 0, to; from < dir->dir.n_sorted; from = to, block++) {
		to = block_end(dir, from);
		for (uint32_t i = from; i < to; i++) {
			int r = place_entry(p, dir, dir->dir.sorted[i], block << SLOT_BITS | (i - from));

			if (r < 0)
				return r;
		}
	}
	for (uint32_t i = dir->dir.n_sorted; i-- > 0;) {
		struct layer_node *node = dir->dir.sorted[i]->node;

		if (!node || !S_ISDIR(node->mode))
			continue;
		node->dir.next = p->stack;
		p->stack = node;
	}
	return 0;
}

int erofs_write_layout(struct layer_tree *tree, uint64_t tar_size, struct erofs_layout *ret)
{
	struct erofs_layout l = {.tree = tree};
	struct placing p = {.l = &l, .pos = EROFS_FIRST_INODE_OFF, .data_end = round_up(tar_size, PAGE)};
	int r;

	if (tar_size > LIMIT_LAYER_FILE_SIZE - PAGE)
		return fail(EFBIG, "the layer's tar is larger than %llu bytes",
			    (unsigned long long)LIMIT_LAYER_FILE_SIZE);
	p.last_dir = &l.first_dir;
	p.last_sparse = &l.first_sparse;
	p.stack = tree->root;
	r = prepare_dir(&p, tree->root);
	if (r == 0)
		r = place_node(&p, tree->root);
	while (r == 0 && p.stack) {
		struct layer_node *dir = p.stack;

		p.stack = dir->dir.next;
		dir->dir.next = NULL;
		*p.last_dir = dir;
		p.last_dir = &dir->dir.next;
		r = place_children(&p, dir);
	}
	if (r < 0)
		return r;
	l.inodes_end = round_up(p.pos, EROFS_BLOCK);
	l.index_size = round_up(l.inodes_end + p.n_blocks * EROFS_BLOCK, PAGE);
	if (l.index_size > LIMIT_LAYER_INDEX_SIZE)
		return fail_index_size();
	l.layer_file_size = p.data_end;
	*ret = l;
	return 0;
}

static uint32_t data_block(const struct erofs_layout *l, uint32_t block)
{
	return (uint32_t)(l->inodes_end / EROFS_BLOCK) + block;
}

static void render_super(const struct erofs_layout *l, uint8_t *out)
{
	const struct erofs_disk_super super = {
		.magic = htole32(EROFS_MAGIC),
		.feature_compat = htole32(EROFS_COMPAT_MTIME),
		.block_bits = EROFS_BLOCK_BITS,
		.root_nid = htole16((uint16_t)(l->tree->root->index_off / EROFS_NID)),
		.n_inodes = htole64(l->n_inodes),
		.n_blocks = htole32((uint32_t)(l->index_size / EROFS_BLOCK)),
		.feature_incompat = htole32(EROFS_INCOMPAT),
		.n_devices = htole16(1),
		.device_slot = htole16(EROFS_DEVICE_SLOT),
	};
	const struct erofs_disk_device device = {
		.n_blocks = htole32((uint32_t)(l->layer_file_size / EROFS_BLOCK)),
		.n_implied = htole64(l->n_implied),
	};

	memcpy(out + EROFS_SUPER_OFF, &super, sizeof(super));
	memcpy(out + EROFS_DEVICE_SLOT * sizeof(device), &device, sizeof(device));
}

static void render_xattrs(const struct layer_node *node, uint8_t *at)
{
	at += sizeof(struct erofs_disk_xattr_header);
	if (node->xattrs_size)
		memcpy(at, node->xattrs, node->xattrs_size);
	at += node->xattrs_size;
	if (is_opaque(node)) {
		memcpy(at, xattr_opaque, sizeof(xattr_opaque));
		at += sizeof(xattr_opaque);
	}
	if (has_whiteout(node))
		memcpy(at, xattr_origin, sizeof(xattr_origin));
}

/* The smallest chunk that the whole file fits into. */
static uint32_t chunk_bits(uint64_t size)
{
	uint32_t bits = 0;

	while (size > 1ull << (EROFS_BLOCK_BITS + bits))
		bits++;
	assert(bits <= EROFS_CHUNK_BITS_MASK); /* sizes are below LIMIT_LAYER_FILE_SIZE */
	return bits;
}

/* Fills in what depends on the type, and writes what lies behind inode and xattrs (`behind`). */
static void render_content(const struct erofs_layout *l, const struct layer_node *node,
			   struct erofs_disk_inode *inode, uint8_t *out, uint64_t behind)
{
	enum erofs_layout_kind kind = EROFS_FLAT_PLAIN;
	struct erofs_disk_chunk chunk = {.device = htole16(1)};

	if (S_ISDIR(node->mode)) {
		inode->size = htole64((uint64_t)node->dir.n_blocks * EROFS_BLOCK);
		inode->u = htole32(data_block(l, node->dir.block));
		inode->implied = node->dir.implied;
		inode->parent_cookie = htole32(node->dir.parent_cookie);
	} else if (S_ISLNK(node->mode)) {
		uint64_t off = behind;

		inode->size = htole64(node->symlink.size);
		if (node->symlink.inlined) {
			kind = EROFS_FLAT_INLINE;
		} else {
			inode->u = htole32(data_block(l, node->symlink.block));
			off = (uint64_t)data_block(l, node->symlink.block) * EROFS_BLOCK;
		}
		memcpy(out + off, node->symlink.target, node->symlink.size);
	} else if (S_ISREG(node->mode) && node->file.size > 0) {
		kind = EROFS_CHUNK_BASED;
		inode->size = htole64(node->file.size);
		inode->u = htole32(EROFS_CHUNK_INDEXES | chunk_bits(node->file.size));
		chunk.block = htole32((uint32_t)(node->file.off / EROFS_BLOCK));
		memcpy(out + round_up(behind, sizeof(chunk)), &chunk, sizeof(chunk));
	} else if (S_ISREG(node->mode)) {
		inode->u = htole32(EROFS_NULL_ADDR);
	} else {
		inode->u = htole32(node->rdev);
	}
	inode->format = htole16((uint16_t)EROFS_FORMAT(kind));
}

static void render_node(const struct erofs_layout *l, const struct layer_node *node, uint8_t *out)
{
	uint32_t size = xattrs_size(node);
	struct erofs_disk_inode inode = {
		.mode = htole16((uint16_t)node->mode),
		.ino = htole32(node->ino),
		.uid = htole32(node->uid),
		.gid = htole32(node->gid),
		.mtime = htole64((uint64_t)node->mtime),
		.mtime_nsec = htole32(node->mtime_nsec),
		.nlink = htole32(node->nlink),
	};
	uint64_t behind = node->index_off + sizeof(inode);

	if (size) {
		inode.xattr_count =
			htole16((uint16_t)((size - sizeof(struct erofs_disk_xattr_header)) / 4 + 1));
		render_xattrs(node, out + behind);
	}
	render_content(l, node, &inode, out, behind + size);
	memcpy(out + node->index_off, &inode, sizeof(inode));
}

static uint8_t type_of(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return EROFS_FT_FILE;
	case S_IFDIR:
		return EROFS_FT_DIRECTORY;
	case S_IFLNK:
		return EROFS_FT_SYMLINK;
	case S_IFBLK:
		return EROFS_FT_BLOCK_DEVICE;
	case S_IFIFO:
		return EROFS_FT_FIFO;
	default:
		return EROFS_FT_CHARACTER_DEVICE;
	}
}

static const struct layer_node *node_of(const struct erofs_layout *l, const struct layer_node *dir,
					const struct layer_entry *e)
{
	if (e == &dot)
		return dir;
	if (e == &dot_dot)
		return dir->dir.parent;
	return e->node ? e->node : l->whiteout;
}

static void render_block(const struct erofs_layout *l, const struct layer_node *dir, uint32_t from, uint32_t to,
			 uint8_t *block)
{
	size_t name_off = (to - from) * sizeof(struct erofs_disk_dirent);

	for (uint32_t i = from; i < to; i++) {
		const struct layer_entry *e = dir->dir.sorted[i];
		const struct layer_node *node = node_of(l, dir, e);
		const struct erofs_disk_dirent d = {
			.nid = htole64(node->index_off / EROFS_NID),
			.name_off = htole16((uint16_t)name_off),
			.type = type_of(node->mode),
		};

		memcpy(block + (i - from) * sizeof(d), &d, sizeof(d));
		memcpy(block + name_off, e->name, e->name_size);
		name_off += e->name_size;
	}
}

static void render_dir(const struct erofs_layout *l, const struct layer_node *dir, uint8_t *out)
{
	uint8_t *block = out + (uint64_t)data_block(l, dir->dir.block) * EROFS_BLOCK;

	for (uint32_t from = 0, to; from < dir->dir.n_sorted; from = to, block += EROFS_BLOCK) {
		to = block_end(dir, from);
		render_block(l, dir, from, to, block);
	}
	for (uint32_t i = 0; i < dir->dir.n_sorted; i++)
		if (dir->dir.sorted[i]->node)
			render_node(l, dir->dir.sorted[i]->node, out);
}

void erofs_write_render(const struct erofs_layout *l, void *out)
{
	struct digest digest;

	render_super(l, out);
	render_node(l, l->tree->root, out);
	if (l->whiteout)
		render_node(l, l->whiteout, out);
	for (const struct layer_node *dir = l->first_dir; dir; dir = dir->dir.next)
		render_dir(l, dir, out);
	/* The UUID field is still zero. */
	hash_bytes(out, l->index_size, &digest);
	memcpy((uint8_t *)out + EROFS_SUPER_OFF + offsetof(struct erofs_disk_super, uuid), digest.bytes, 16);
}
