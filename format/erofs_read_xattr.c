/* Walks the xattrs that lie behind an inode of a layer index. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "format/erofs_format.h"
#include "format/erofs_read.h"
#include "format/erofs_xattr.h"

/* *cookie counts bytes of the xattr area, its header included. */
int erofs_read_xattr_next(const struct erofs_read *e, const struct erofs_inode *inode, uint64_t *cookie,
			  struct erofs_xattr *ret)
{
	uint64_t at = *cookie ? *cookie : sizeof(struct erofs_disk_xattr_header), size;
	struct erofs_disk_xattr_header header;
	struct erofs_disk_xattr x;
	const char *prefix;
	const uint8_t *area;
	size_t area_size, prefix_size;
	int r = erofs_read_xattr_area(e, inode, &area, &area_size);

	if (r < 0)
		return r;
	if (at >= area_size)
		return 0;
	memcpy(&header, area, sizeof(header)); /* an area is never smaller than its header */
	if (header.n_shared)
		return -EOPNOTSUPP;
	if (area_size - at < sizeof(x))
		return -EBADMSG;
	memcpy(&x, area + at, sizeof(x));
	size = sizeof(x) + x.name_size + le16toh(x.value_size);
	if (size > area_size - at)
		return -EBADMSG;
	prefix = erofs_xattr_prefix(x.index);
	if (!prefix)
		return -EOPNOTSUPP;
	prefix_size = strlen(prefix);
	if ((prefix[prefix_size - 1] == '.') != (x.name_size > 0) ||
	    prefix_size + x.name_size >= sizeof(ret->name) || memchr(area + at + sizeof(x), '\0', x.name_size))
		return -EBADMSG;
	memcpy(ret->name, prefix, prefix_size);
	memcpy(ret->name + prefix_size, area + at + sizeof(x), x.name_size);
	ret->name[prefix_size + x.name_size] = '\0';
	ret->value = area + at + sizeof(x) + x.name_size;
	ret->value_size = le16toh(x.value_size);
	*cookie = at + ((size + 3) & ~3ull);
	return 1;
}

int erofs_read_xattr(const struct erofs_read *e, const struct erofs_inode *inode, const char *name,
		     const void **ret, size_t *ret_size)
{
	struct erofs_xattr x;
	uint64_t cookie = 0;
	int r;

	while ((r = erofs_read_xattr_next(e, inode, &cookie, &x)) == 1)
		if (strcmp(x.name, name) == 0) {
			*ret = x.value;
			*ret_size = x.value_size;
			return 0;
		}
	return r < 0 ? r : -ENODATA;
}

bool erofs_read_is_opaque(const struct erofs_read *e, const struct erofs_inode *dir)
{
	const void *value;
	size_t size;

	return erofs_read_xattr(e, dir, "trusted.overlay.opaque", &value, &size) == 0 && size == 1 &&
	       memcmp(value, "y", 1) == 0;
}
