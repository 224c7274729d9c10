/* erofs_read: bounds-checked reading of a layer index (an EROFS image with metadata only).
 *
 * The bytes are hostile, cached ones too: every accessor checks what it touches, nothing is trusted
 * because it was looked at before. Nothing is allocated for an entry.
 *
 * Ownership  Points into bytes of the caller's (a file mapping), which must outlive it.
 * Units      nid: inode number of EROFS (offset / 32). Offsets of file data count bytes of the layer file.
 * Errors     -EBADMSG: a field points outside, or breaks the format (bare). -ENOENT, -ENOTDIR,
 *            -ENODATA bare. -EOPNOTSUPP: a feature our writer never uses.
 * Threads    Never changes after open, so any thread reads it without a lock.
 * Source     linux/fs/erofs/erofs_fs.h; what we write: erofs_write.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct erofs_read {
	const uint8_t *data;
	size_t size;
	uint64_t layer_file_size; /* bytes of the external device */
	uint64_t n_inodes;
	uint64_t n_implied; /* directories without attributes of their own, the root not counted */
	uint32_t root_nid;
	uint32_t generation; /* 32 bits of the UUID, never 0 (KERNEL.md B) */
	uint8_t uuid[16];
};

struct erofs_inode {
	uint32_t nid;
	mode_t mode; /* with the type */
	uint32_t uid, gid;
	uint32_t nlink; /* within this layer */
	uint64_t size;
	int64_t mtime;
	uint32_t mtime_nsec;
	uint32_t major, minor; /* of devices */
	uint64_t data_off;     /* regular files: where the body lies in the layer file; all of it, in one piece */
	bool implied;	       /* a directory that no member named: does not hide the one below */
};

struct erofs_entry {
	const char *name; /* not NUL-terminated */
	size_t name_size;
	uint32_t nid;
	uint8_t type; /* DT_* of readdir(3) */
};

int erofs_read_open(const void *data, size_t size, struct erofs_read *ret);
int erofs_read_inode(const struct erofs_read *e, uint32_t nid, struct erofs_inode *ret);

/* The order of a directory's names: of their bytes, a shorter one first. */
int erofs_read_compare(const char *a, size_t a_size, const char *b, size_t b_size);

/* Binary search. `dir` must be a directory (-ENOTDIR). "." and ".." are found too. */
int erofs_read_lookup(const struct erofs_read *e, const struct erofs_inode *dir, const char *name,
		      size_t name_size, uint32_t *ret_nid);

/* Entries in name order, "." and ".." among them. *cookie starts at 0 and is opaque (block and slot);
 * stable for ever; below 2^32, and less 1 the entry's own. Returns 1 with an entry, 0 at the end. */
int erofs_read_entry(const struct erofs_read *e, const struct erofs_inode *dir, uint64_t *cookie,
		     struct erofs_entry *ret);

/* The first entry whose name is >= `name` in memcmp order; entries go on from *ret_cookie. */
int erofs_read_seek(const struct erofs_read *e, const struct erofs_inode *dir, const char *name,
		    size_t name_size, uint64_t *ret_cookie);

/* Under which one name `parent` holds the directory `nid`; our writer notes it in the inode, so that
 * nothing is searched. -EBADMSG when `parent` does not hold it there. */
int erofs_read_name_of(const struct erofs_read *e, const struct erofs_inode *parent, uint32_t nid,
		       struct erofs_entry *ret);

/* *ret points into the index; not NUL-terminated. */
int erofs_read_symlink(const struct erofs_read *e, const struct erofs_inode *link, const char **ret, size_t *ret_size);

/* The bytes that hold all xattrs of an inode; size 0 when it has none. For the walk below. */
int erofs_read_xattr_area(const struct erofs_read *e, const struct erofs_inode *inode, const uint8_t **ret,
			  size_t *ret_size);

/* One xattr by its full name ("security.capability"). -ENODATA when it has none of that name. */
int erofs_read_xattr(const struct erofs_read *e, const struct erofs_inode *inode, const char *name,
		     const void **ret, size_t *ret_size);

struct erofs_xattr {
	char name[272]; /* full, NUL-terminated */
	const void *value;
	size_t value_size;
};
/* *cookie starts at 0. Returns 1 with an xattr, 0 at the end. */
int erofs_read_xattr_next(const struct erofs_read *e, const struct erofs_inode *inode, uint64_t *cookie,
			  struct erofs_xattr *ret);

bool erofs_inode_is_whiteout(const struct erofs_inode *inode); /* character 0:0 */
bool erofs_read_is_opaque(const struct erofs_read *e, const struct erofs_inode *dir);
