/* tree_dump INDEX LAYER-FILE...: the merged tree of layers (lowest first), one line a node, for tests.
 *
 * Fields, by tabs: path, mode with type (octal), uid, gid, size, mtime (seconds, ns), rdev, link count,
 * topmost layer, layer of the attributes, symlink target, sha256 of the content, xattrs. Paths,
 * targets and xattrs are in hex. overlayfs' own xattrs are left out, as an overlay leaves them out.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/report.h"
#include "format/tree.h"

struct dump {
	struct tree tree;
	struct erofs_read indexes[LIMIT_LAYERS];
	const uint8_t *files[LIMIT_LAYERS];
	uint64_t file_sizes[LIMIT_LAYERS];
	size_t n;
};

static const void *map(const char *path, size_t *ret_size)
{
	_cleanup_(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *data;

	if (fd < 0 || fstat(fd, &st) < 0)
		return NULL;
	*ret_size = (size_t)st.st_size;
	data = mmap(NULL, *ret_size ? *ret_size : 1, PROT_READ, MAP_SHARED, fd, 0);
	return data == MAP_FAILED ? NULL : data;
}

static void put_hex(const void *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		printf("%02x", ((const uint8_t *)data)[i]);
}

static int put_content(const struct dump *d, const struct tree_node *node)
{
	char hex[DIGEST_HEX_MAX + 1];
	struct digest digest;

	if (node->inode.data_off + node->inode.size > d->file_sizes[node->position])
		return -1;
	hash_bytes(d->files[node->position] + node->inode.data_off, node->inode.size, &digest);
	printf("%s", digest_hex(&digest, hex));
	return 0;
}

static int put_xattrs(const struct erofs_read *e, const struct erofs_inode *inode)
{
	struct erofs_xattr x;
	uint64_t cookie = 0;
	int r;

	while ((r = erofs_read_xattr_next(e, inode, &cookie, &x)) == 1) {
		if (strncmp(x.name, "trusted.overlay.", 16) == 0)
			continue;
		put_hex(x.name, strlen(x.name));
		putchar('=');
		put_hex(x.value, x.value_size);
		putchar(',');
	}
	return r;
}

static int put_node(const struct dump *d, const char *path, const struct tree_node *node)
{
	const struct erofs_read *e = d->tree.layers[node->position];
	const struct erofs_inode *i = &node->inode;
	const bool is_dir = S_ISDIR(i->mode);
	const char *target;
	size_t size;
	int r = 0;

	put_hex(path, strlen(path));
	printf("\t%o\t%u\t%u\t%" PRIu64 "\t%" PRId64 "\t%u\t%u:%u\t%u\t%u\t%u\t", i->mode, i->uid, i->gid,
	       is_dir ? 0 : i->size, i->mtime, i->mtime_nsec, i->major, i->minor, i->nlink,
	       is_dir ? node->top_position : node->position, node->position);
	if (S_ISLNK(i->mode)) {
		r = erofs_read_symlink(e, i, &target, &size);
		if (r == 0)
			put_hex(target, size);
	}
	putchar('\t');
	if (r == 0 && S_ISREG(i->mode))
		r = put_content(d, node);
	printf("\t");
	if (r == 0)
		r = put_xattrs(e, i);
	printf("\n");
	return r;
}

/* Depth first by hand over a test's own tree, so recursion is no danger here. */
static int put_dir(const struct dump *d, const struct tree_dir *dir, char *path, size_t used)
{
	struct tree_entry entry;
	struct tree_list list;
	int r = tree_list_begin(&d->tree, dir, 0, &list);

	while (r == 0 && (r = tree_list_next(&list, &entry)) == 1) {
		size_t end = used + (used > 0) + entry.name_size;
		struct tree_node node;
		struct tree_dir child;

		if (end > LIMIT_PATH_SIZE)
			return -1;
		if (used)
			path[used] = '/';
		memcpy(path + end - entry.name_size, entry.name, entry.name_size);
		path[end] = '\0';
		r = tree_lookup(&d->tree, dir, entry.name, entry.name_size, &node, &child);
		if (r == 0)
			r = put_node(d, path, &node);
		if (r == 0 && S_ISDIR(node.inode.mode))
			r = put_dir(d, &child, path, end);
		if (r < 0)
			return r;
	}
	return r;
}

int main(int argc, char **argv)
{
	const struct erofs_read *reads[LIMIT_LAYERS];
	static char path[LIMIT_PATH_SIZE + 1];
	static struct dump d;
	struct tree_node root;
	struct tree_dir dir;
	int r = 0;

	report_init("tree_dump");
	for (; r == 0 && 2 * d.n + 2 < (size_t)argc && d.n < LIMIT_LAYERS; d.n++) {
		size_t size, index_size = 0;
		const void *index = map(argv[2 * d.n + 1], &index_size);

		d.files[d.n] = map(argv[2 * d.n + 2], &size);
		d.file_sizes[d.n] = size;
		reads[d.n] = &d.indexes[d.n];
		r = index && d.files[d.n] ? erofs_read_open(index, index_size, &d.indexes[d.n]) : -1;
	}
	tree_init(&d.tree, reads, d.n);
	if (r == 0)
		r = tree_root(&d.tree, &dir, &root);
	if (r == 0)
		r = put_node(&d, ".", &root);
	if (r == 0)
		r = put_dir(&d, &dir, path, 0);
	return r < 0 ? (fail(-r, "ends with %d at %s", r, path), 1) : 0;
}
