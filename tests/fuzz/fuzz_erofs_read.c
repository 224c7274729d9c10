/* Asks erofs_read everything about every place of the input where an inode could lie. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/erofs_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned int sink;

/* Reads bytes that were handed out, so that a sanitizer sees where they lie. */
static void touch(const void *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		sink += ((const uint8_t *)data)[i];
}

static void walk_dir(const struct erofs_read *e, const struct erofs_inode *dir)
{
	struct erofs_entry entry, again;
	uint64_t cookie = 0, found;
	uint32_t nid;

	while (erofs_read_entry(e, dir, &cookie, &entry) == 1) {
		touch(entry.name, entry.name_size);
		if (erofs_read_lookup(e, dir, entry.name, entry.name_size, &nid) == 0)
			sink += nid;
		if (erofs_read_seek(e, dir, entry.name, entry.name_size, &found) == 0)
			sink += (unsigned int)found;
		if (erofs_read_name_of(e, dir, entry.nid, &again) == 0)
			touch(again.name, again.name_size);
	}
	cookie = 0x1234567890abcdef;
	(void)erofs_read_entry(e, dir, &cookie, &entry);
}

static void walk_inode(const struct erofs_read *e, const struct erofs_inode *inode)
{
	struct erofs_xattr x;
	uint64_t cookie = 0;
	const char *target;
	size_t size;

	while (erofs_read_xattr_next(e, inode, &cookie, &x) == 1) {
		const void *value;
		size_t value_size;

		touch(x.name, strlen(x.name));
		touch(x.value, x.value_size);
		if (erofs_read_xattr(e, inode, x.name, &value, &value_size) != 0)
			abort();
		touch(value, value_size);
	}
	sink += erofs_read_is_opaque(e, inode) + erofs_inode_is_whiteout(inode);
	if (erofs_read_symlink(e, inode, &target, &size) == 0)
		touch(target, size);
	if (S_ISREG(inode->mode) &&
	    (inode->data_off > e->layer_file_size || inode->size > e->layer_file_size - inode->data_off))
		abort();
	walk_dir(e, inode);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct erofs_read e;
	struct erofs_inode inode;

	if (size > 1 << 16 || erofs_read_open(data, size, &e) < 0)
		return 0;
	for (uint32_t nid = 0; nid <= size / 32; nid++) {
		if (erofs_read_inode(&e, nid, &inode) == 0)
			walk_inode(&e, &inode);
		inode = (struct erofs_inode){.nid = nid}; /* as if it had been checked */
		walk_dir(&e, &inode);
	}
	return 0;
}
