/* Reads a layer index in place: each call parses what it needs from the bytes and checks it on the way. */
#include "format/erofs_read.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "format/erofs_format.h"

#define SLOT_BITS 6 /* of a cookie: a block of 512 bytes holds at most 39 entries */
#define SLOT_MASK ((1u << SLOT_BITS) - 1)

struct disk_inode { /* an inode's fields, and where its parts lie */
	struct erofs_disk_inode field;
	unsigned int layout;
	uint64_t xattr_off; /* header included */
	uint64_t xattr_size;
	uint64_t end; /* behind inode and xattrs */
};

struct dir_block { /* a directory's block; n entries are there, their names not yet checked */
	const uint8_t *data;
	unsigned int n;
};

static bool inside(const struct erofs_read *e, uint64_t off, uint64_t size)
{
	return off <= e->size && size <= e->size - off;
}

int erofs_read_open(const void *data, size_t size, struct erofs_read *ret)
{
	struct erofs_read e = {.data = data, .size = size};
	struct erofs_disk_super super;
	struct erofs_disk_device device;
	struct erofs_inode root;
	uint32_t generation;

	if (size < EROFS_FIRST_INODE_OFF || size > LIMIT_LAYER_INDEX_SIZE)
		return -EBADMSG;
	memcpy(&super, e.data + EROFS_SUPER_OFF, sizeof(super));
	memcpy(&device, e.data + EROFS_DEVICE_SLOT * sizeof(device), sizeof(device));
	if (le32toh(super.magic) != EROFS_MAGIC)
		return -EBADMSG;
	if (le32toh(super.feature_incompat) != EROFS_INCOMPAT || super.block_bits != EROFS_BLOCK_BITS ||
	    super.ext_slots || super.dir_block_bits || super.meta_block || le16toh(super.n_devices) != 1 ||
	    le16toh(super.device_slot) != EROFS_DEVICE_SLOT)
		return -EOPNOTSUPP;
	if (!inside(&e, 0, (uint64_t)le32toh(super.n_blocks) * EROFS_BLOCK))
		return -EBADMSG;
	e.layer_file_size = (uint64_t)le32toh(device.n_blocks) * EROFS_BLOCK;
	if (e.layer_file_size > LIMIT_LAYER_FILE_SIZE)
		return -EBADMSG;
	e.n_inodes = le64toh(super.n_inodes);
	e.n_implied = le64toh(device.n_implied);
	e.root_nid = le16toh(super.root_nid);
	memcpy(e.uuid, super.uuid, sizeof(e.uuid));
	memcpy(&generation, super.uuid, sizeof(generation));
	e.generation = generation ? le32toh(generation) : 1;
	if (erofs_read_inode(&e, e.root_nid, &root) < 0 || !S_ISDIR(root.mode))
		return -EBADMSG;
	*ret = e;
	return 0;
}

static int load_inode(const struct erofs_read *e, uint32_t nid, struct disk_inode *ret)
{
	uint64_t off = (uint64_t)nid << EROFS_NID_BITS;
	unsigned int format, count;

	if (off < EROFS_FIRST_INODE_OFF || !inside(e, off, sizeof(ret->field)))
		return -EBADMSG;
	memcpy(&ret->field, e->data + off, sizeof(ret->field));
	format = le16toh(ret->field.format);
	if (!(format & EROFS_FORMAT_EXTENDED))
		return -EOPNOTSUPP;
	ret->layout = format >> 1;
	if (ret->layout != EROFS_FLAT_PLAIN && ret->layout != EROFS_FLAT_INLINE &&
	    ret->layout != EROFS_CHUNK_BASED)
		return -EOPNOTSUPP;
	count = le16toh(ret->field.xattr_count);
	ret->xattr_off = off + sizeof(ret->field);
	ret->xattr_size = count ? sizeof(struct erofs_disk_xattr_header) + 4ull * (count - 1) : 0;
	if (!inside(e, ret->xattr_off, ret->xattr_size))
		return -EBADMSG;
	ret->end = ret->xattr_off + ret->xattr_size;
	return 0;
}

/* Where the bytes of a directory or symlink lie in the index. */
static int locate_data(const struct erofs_read *e, const struct disk_inode *inode, uint64_t *ret_off)
{
	uint64_t off;

	if (inode->layout == EROFS_FLAT_INLINE)
		off = inode->end;
	else if (inode->layout == EROFS_FLAT_PLAIN)
		off = (uint64_t)le32toh(inode->field.u) * EROFS_BLOCK;
	else
		return -EOPNOTSUPP;
	if (!inside(e, off, le64toh(inode->field.size)))
		return -EBADMSG;
	*ret_off = off;
	return 0;
}

/* Where the body of a regular file lies in the layer file. */
static int locate_body(const struct erofs_read *e, const struct disk_inode *inode, uint64_t *ret_off)
{
	uint64_t size = le64toh(inode->field.size), off = (inode->end + 7) & ~7ull;
	uint32_t format = le32toh(inode->field.u);
	struct erofs_disk_chunk chunk;

	*ret_off = 0;
	if (size == 0)
		return 0;
	if (inode->layout != EROFS_CHUNK_BASED || (format & ~EROFS_CHUNK_BITS_MASK) != EROFS_CHUNK_INDEXES)
		return -EOPNOTSUPP;
	if (size - 1 >= 1ull << (EROFS_BLOCK_BITS + (format & EROFS_CHUNK_BITS_MASK)))
		return -EOPNOTSUPP; /* more than one chunk */
	if (!inside(e, off, sizeof(chunk)))
		return -EBADMSG;
	memcpy(&chunk, e->data + off, sizeof(chunk));
	if (le16toh(chunk.device) != 1 || chunk.block_high)
		return -EOPNOTSUPP;
	off = (uint64_t)le32toh(chunk.block) * EROFS_BLOCK;
	if (off > e->layer_file_size || size > e->layer_file_size - off)
		return -EBADMSG;
	*ret_off = off;
	return 0;
}

static int check_type(const struct erofs_read *e, const struct disk_inode *disk, struct erofs_inode *inode)
{
	uint32_t rdev = le32toh(disk->field.u);
	uint64_t off;

	switch (inode->mode & S_IFMT) {
	case S_IFREG:
		return locate_body(e, disk, &inode->data_off);
	case S_IFDIR:
		if (disk->layout != EROFS_FLAT_PLAIN)
			return -EOPNOTSUPP;
		if (inode->size == 0 || inode->size % EROFS_BLOCK)
			return -EBADMSG;
		inode->implied = disk->field.implied;
		return locate_data(e, disk, &off);
	case S_IFLNK:
		if (inode->size == 0 || inode->size > LIMIT_PATH_SIZE)
			return -EBADMSG;
		return locate_data(e, disk, &off);
	case S_IFCHR:
	case S_IFBLK:
		/* new_encode_dev() of the kernel: 12 bits of major between the minor's 8 and 12 bits. */
		inode->major = (rdev >> 8) & 0xfff;
		inode->minor = (rdev & 0xff) | (rdev >> 12 & 0xfff00);
		return 0;
	case S_IFIFO:
		return 0;
	default:
		return -EBADMSG;
	}
}

int erofs_read_inode(const struct erofs_read *e, uint32_t nid, struct erofs_inode *ret)
{
	struct disk_inode disk;
	struct erofs_inode inode;
	int r = load_inode(e, nid, &disk);

	if (r < 0)
		return r;
	inode = (struct erofs_inode){
		.nid = nid,
		.mode = le16toh(disk.field.mode),
		.uid = le32toh(disk.field.uid),
		.gid = le32toh(disk.field.gid),
		.nlink = le32toh(disk.field.nlink),
		.size = le64toh(disk.field.size),
		.mtime = (int64_t)le64toh(disk.field.mtime),
		.mtime_nsec = le32toh(disk.field.mtime_nsec),
	};
	if (inode.mtime_nsec >= 1000000000 || inode.nlink == 0)
		return -EBADMSG;
	r = check_type(e, &disk, &inode);
	if (r < 0)
		return r;
	*ret = inode;
	return 0;
}

/* The directory's bytes, parsed anew: the caller's struct is only trusted for its nid. */
static int dir_open(const struct erofs_read *e, const struct erofs_inode *dir, const uint8_t **ret_data,
		    uint32_t *ret_n_blocks)
{
	struct disk_inode disk;
	uint64_t off;
	int r = load_inode(e, dir->nid, &disk);

	if (r < 0)
		return r;
	if (!S_ISDIR(le16toh(disk.field.mode)))
		return -ENOTDIR;
	r = locate_data(e, &disk, &off);
	if (r < 0)
		return r;
	*ret_data = e->data + off;
	*ret_n_blocks = (uint32_t)(le64toh(disk.field.size) / EROFS_BLOCK);
	return 0;
}

static struct erofs_disk_dirent dirent_at(const struct dir_block *b, unsigned int slot)
{
	struct erofs_disk_dirent d;

	memcpy(&d, b->data + slot * sizeof(d), sizeof(d));
	return d;
}

/* The first name lies right behind the entries, which says how many there are. */
static int block_open(const uint8_t *dir, uint32_t block, struct dir_block *ret)
{
	struct dir_block b = {.data = dir + (size_t)block * EROFS_BLOCK};
	struct erofs_disk_dirent first = dirent_at(&b, 0);
	unsigned int off = le16toh(first.name_off);

	if (off < sizeof(first) || off >= EROFS_BLOCK || off % sizeof(first))
		return -EBADMSG;
	b.n = off / sizeof(first);
	*ret = b;
	return 0;
}

static uint8_t type_of_entry(unsigned int type)
{
	static const uint8_t types[] = {
		[EROFS_FT_FILE] = DT_REG,
		[EROFS_FT_DIRECTORY] = DT_DIR,
		[EROFS_FT_CHARACTER_DEVICE] = DT_CHR,
		[EROFS_FT_BLOCK_DEVICE] = DT_BLK,
		[EROFS_FT_FIFO] = DT_FIFO,
		[EROFS_FT_SYMLINK] = DT_LNK,
	};

	return type < sizeof(types) ? types[type] : 0;
}

static int block_entry(const struct dir_block *b, unsigned int slot, struct erofs_entry *ret)
{
	struct erofs_disk_dirent d = dirent_at(b, slot);
	unsigned int start = le16toh(d.name_off), end = EROFS_BLOCK;

	if (slot + 1 < b->n)
		end = le16toh(dirent_at(b, slot + 1).name_off);
	if (start < b->n * sizeof(d) || start >= end || end > EROFS_BLOCK || le64toh(d.nid) > UINT32_MAX)
		return -EBADMSG;
	ret->name = (const char *)b->data + start;
	ret->name_size = strnlen(ret->name, end - start);
	ret->nid = (uint32_t)le64toh(d.nid);
	ret->type = type_of_entry(d.type);
	if (ret->name_size == 0 || ret->name_size > LIMIT_NAME_SIZE || !ret->type ||
	    memchr(ret->name, '/', ret->name_size))
		return -EBADMSG;
	if (slot + 1 < b->n && ret->name_size != end - start)
		return -EBADMSG;
	return 0;
}

int erofs_read_compare(const char *a, size_t a_size, const char *b, size_t b_size)
{
	int r = memcmp(a, b, a_size < b_size ? a_size : b_size);

	return r ? r : (a_size > b_size) - (a_size < b_size);
}

/* The first slot whose name is >= `name`; b->n when all are smaller. */
static int block_seek(const struct dir_block *b, const char *name, size_t name_size, unsigned int *ret)
{
	unsigned int low = 0, high = b->n;
	struct erofs_entry entry;

	while (low < high) {
		unsigned int middle = (low + high) / 2;
		int r = block_entry(b, middle, &entry);

		if (r < 0)
			return r;
		if (erofs_read_compare(entry.name, entry.name_size, name, name_size) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret = low;
	return 0;
}

/* The last block whose first name is <= `name`, or the first block; and the slot in it. */
static int dir_seek(const uint8_t *dir, uint32_t n_blocks, const char *name, size_t name_size,
		    struct dir_block *ret, uint32_t *ret_block, unsigned int *ret_slot)
{
	uint32_t low = 0, high = n_blocks;
	struct erofs_entry entry;
	int r;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		r = block_open(dir, middle, ret);
		if (r < 0)
			return r;
		r = block_entry(ret, 0, &entry);
		if (r < 0)
			return r;
		if (erofs_read_compare(entry.name, entry.name_size, name, name_size) <= 0)
			low = middle;
		else
			high = middle;
	}
	r = n_blocks ? block_open(dir, low, ret) : -EBADMSG;
	if (r < 0)
		return r;
	*ret_block = low;
	return block_seek(ret, name, name_size, ret_slot);
}

int erofs_read_seek(const struct erofs_read *e, const struct erofs_inode *dir, const char *name,
		    size_t name_size, uint64_t *ret_cookie)
{
	const uint8_t *data;
	struct dir_block b;
	uint32_t n_blocks, block;
	unsigned int slot;
	int r;

	r = dir_open(e, dir, &data, &n_blocks);
	if (r < 0)
		return r;
	r = dir_seek(data, n_blocks, name, name_size, &b, &block, &slot);
	if (r < 0)
		return r;
	*ret_cookie = (uint64_t)block << SLOT_BITS | slot;
	return 0;
}

int erofs_read_lookup(const struct erofs_read *e, const struct erofs_inode *dir, const char *name,
		      size_t name_size, uint32_t *ret_nid)
{
	const uint8_t *data;
	struct dir_block b;
	struct erofs_entry entry;
	uint32_t n_blocks, block;
	unsigned int slot;
	int r;

	r = dir_open(e, dir, &data, &n_blocks);
	if (r < 0)
		return r;
	r = dir_seek(data, n_blocks, name, name_size, &b, &block, &slot);
	if (r < 0)
		return r;
	if (slot == b.n)
		return -ENOENT;
	r = block_entry(&b, slot, &entry);
	if (r < 0)
		return r;
	if (erofs_read_compare(entry.name, entry.name_size, name, name_size) != 0)
		return -ENOENT;
	*ret_nid = entry.nid;
	return 0;
}

int erofs_read_entry(const struct erofs_read *e, const struct erofs_inode *dir, uint64_t *cookie,
		     struct erofs_entry *ret)
{
	uint64_t block = *cookie >> SLOT_BITS;
	unsigned int slot = *cookie & SLOT_MASK;
	const uint8_t *data;
	struct dir_block b;
	uint32_t n_blocks;
	int r;

	r = dir_open(e, dir, &data, &n_blocks);
	if (r < 0)
		return r;
	for (; block < n_blocks; block++, slot = 0) {
		r = block_open(data, (uint32_t)block, &b);
		if (r < 0)
			return r;
		if (slot >= b.n)
			continue;
		r = block_entry(&b, slot, ret);
		if (r < 0)
			return r;
		*cookie = block << SLOT_BITS | (slot + 1);
		return 1;
	}
	return 0;
}

static bool is_dot(const struct erofs_entry *entry)
{
	return entry->name[0] == '.' &&
	       (entry->name_size == 1 || (entry->name_size == 2 && entry->name[1] == '.'));
}

int erofs_read_name_of(const struct erofs_read *e, const struct erofs_inode *parent, uint32_t nid,
		       struct erofs_entry *ret)
{
	struct disk_inode child;
	uint64_t cookie;
	int r = load_inode(e, nid, &child);

	if (r < 0)
		return r;
	cookie = le32toh(child.field.parent_cookie);
	r = erofs_read_entry(e, parent, &cookie, ret);
	if (r < 0)
		return r;
	return r == 0 || ret->nid != nid || is_dot(ret) ? -EBADMSG : 0;
}

int erofs_read_symlink(const struct erofs_read *e, const struct erofs_inode *link, const char **ret, size_t *ret_size)
{
	struct disk_inode disk;
	uint64_t off, size;
	int r = load_inode(e, link->nid, &disk);

	if (r < 0)
		return r;
	if (!S_ISLNK(le16toh(disk.field.mode)))
		return -EINVAL;
	r = locate_data(e, &disk, &off);
	if (r < 0)
		return r;
	size = le64toh(disk.field.size);
	if (size == 0 || size > LIMIT_PATH_SIZE || memchr(e->data + off, '\0', size))
		return -EBADMSG;
	*ret = (const char *)e->data + off;
	*ret_size = size;
	return 0;
}

int erofs_read_xattr_area(const struct erofs_read *e, const struct erofs_inode *inode, const uint8_t **ret,
			  size_t *ret_size)
{
	struct disk_inode disk;
	int r = load_inode(e, inode->nid, &disk);

	if (r < 0)
		return r;
	*ret = e->data + disk.xattr_off;
	*ret_size = disk.xattr_size;
	return 0;
}

bool erofs_inode_is_whiteout(const struct erofs_inode *inode)
{
	return S_ISCHR(inode->mode) && inode->major == 0 && inode->minor == 0;
}
