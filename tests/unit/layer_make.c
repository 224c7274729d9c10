/* layer_make TAR INDEX LAYER-FILE: makes a layer index and a layer file of an uncompressed tar, for tests. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "format/layer_builder.h"
#include "format/tar.h"

/* Feeds odd pieces, so that members cross them. */
#define PIECE 65521u

static int add_members(struct layer_builder *b, const uint8_t *data, size_t size)
{
	_cleanup_(tar_free) struct tar *t = NULL;
	int r = tar_new(&t);

	for (size_t at = 0; r == 0 && at < size;) {
		size_t piece = size - at < PIECE ? size - at : PIECE, used;
		struct tar_member m;

		r = tar_next(t, data + at, piece, &used, &m);
		at += used;
		if (r == 1)
			r = layer_builder_add(b, &m);
	}
	return r < 0 ? r : tar_finish(t);
}

static int write_index(const struct layer_builder *b, const char *path, uint64_t size)
{
	_cleanup_(fd_close) int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	void *out;

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return fail(errno, "%s: %m", path);
	out = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (out == MAP_FAILED)
		return fail(errno, "%s: %m", path);
	layer_builder_render(b, out);
	munmap(out, size);
	return 0;
}

static int write_layer(const struct layer_builder *b, const char *path, const uint8_t *tar, size_t tar_size,
		       uint64_t size)
{
	_cleanup_(fd_close) int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	struct layer_copy c;
	uint64_t cookie = 0;
	int r = fd < 0 ? -errno : fd_pwrite_full(fd, tar, tar_size, 0);

	while (r == 0 && layer_builder_copy(b, &cookie, &c) == 1)
		r = fd_pwrite_full(fd, tar + c.from_off, c.size, c.to_off);
	if (r == 0 && ftruncate(fd, (off_t)size) < 0)
		r = -errno;
	return r < 0 ? fail(-r, "%s: %s", path, strerror(-r)) : 0;
}

static int make(char **argv)
{
	_cleanup_(layer_builder_free) struct layer_builder *b = NULL;
	_cleanup_(fd_close) int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	uint64_t index_size, layer_size;
	struct stat st;
	void *data;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fail(errno, "%s: %m", argv[1]);
	data = st.st_size ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
	if (data == MAP_FAILED)
		return fail(errno, "%s: %m", argv[1]);
	r = layer_builder_new(&b);
	if (r == 0)
		r = add_members(b, data, (size_t)st.st_size);
	if (r == 0)
		r = layer_builder_finish(b, (uint64_t)st.st_size, &index_size, &layer_size);
	if (r == 0)
		r = write_index(b, argv[2], index_size);
	return r < 0 ? r : write_layer(b, argv[3], data, (size_t)st.st_size, layer_size);
}

int main(int argc, char **argv)
{
	report_init("layer_make");
	if (argc != 4) {
		fprintf(stderr, "usage: layer_make TAR INDEX LAYER-FILE\n");
		return 2;
	}
	return make(argv) < 0;
}
