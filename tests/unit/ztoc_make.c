/* ztoc_make ZTOC BLOB INDEX LAYER-FILE: makes a layer index and a layer file of a packed tar by its zTOC, for tests. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>

#include "base/fd.h"
#include "base/report.h"
#include "format/erofs_read.h"
#include "format/span_decode.h"
#include "format/ztoc_layer.h"

static int read_all(const char *path, struct bytes *ret)
{
	int r = fd_read_file(AT_FDCWD, path, 1u << 30, ret);

	return r < 0 ? fail(-r, "%s: %s", path, strerror(-r)) : 0;
}

static int write_all(const char *path, const uint8_t *data, size_t size)
{
	_cleanup_(fd_close) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	return fd < 0 ? -errno : fd_pwrite_full(fd, data, size, 0);
}

static int decode_one(const struct span *s, const struct bytes *blob, const struct bytes *windows, uint8_t *layer)
{
	int r;

	if (s->packed_off > blob->size || s->packed_size > blob->size - s->packed_off ||
	    s->window_off + s->window_size > windows->size)
		return fail(EBADMSG, "a span lies outside");
	r = span_decode(s, blob->data + s->packed_off, windows->data + s->window_off, layer + s->off);
	if (r == 0 && !span_decode_verify(s, blob->data + s->packed_off, layer + s->off))
		r = fail(EBADMSG, "the span at %llu has another digest", (unsigned long long)s->off);
	return r < 0 ? fail(-r, "the span at %llu cannot be decoded", (unsigned long long)s->off) : 0;
}

static int decode(const struct bytes *spans, const struct bytes *windows, const struct bytes *blob, uint8_t *layer,
		  uint64_t size)
{
	_cleanup_(span_table_free) struct span_table *t = NULL;
	int r = span_table_load(spans->data, spans->size, size, &t);

	/* In any order: each by itself. */
	for (size_t i = r < 0 ? 0 : span_table_count(t); r == 0 && i > 0; i--) {
		struct span s;

		span_table_get(t, i - 1, &s);
		r = decode_one(&s, blob, windows, layer);
	}
	return r;
}

static int make(char **argv)
{
	_cleanup_(bytes_free) struct bytes table = {0}, blob = {0}, spans = {0}, windows = {0};
	_cleanup_(fd_free_memory) uint8_t *layer = NULL, *index = NULL;
	_cleanup_(layer_builder_free) struct layer_builder *b = NULL;
	_cleanup_(ztoc_free) struct ztoc *z = NULL;
	uint64_t index_size, layer_size;
	struct erofs_read opened;
	int r = read_all(argv[1], &table);

	if (r == 0)
		r = read_all(argv[2], &blob);
	if (r == 0 && (r = ztoc_parse(table.data, table.size, &z)) < 0)
		return fail(-r, "it is no zTOC: %s", strerror(-r));
	if (r == 0)
		r = layer_builder_new(&b);
	if (r == 0)
		r = ztoc_layer_build(z, b, &spans, &windows);
	if (r == 0)
		r = layer_builder_finish(b, ztoc_size(z), &index_size, &layer_size);
	if (r < 0)
		return r;
	layer = calloc(1, layer_size);
	index = calloc(1, index_size);
	if (!layer || !index)
		return -ENOMEM;
	layer_builder_render(b, index);
	if (erofs_read_open(index, index_size, &opened) < 0)
		return fail(EBADMSG, "the index cannot be opened");
	r = decode(&spans, &windows, &blob, layer, layer_size);
	if (r == 0)
		r = write_all(argv[3], index, index_size);
	return r < 0 ? r : write_all(argv[4], layer, layer_size);
}

int main(int argc, char **argv)
{
	int r;

	if (argc != 5) {
		fprintf(stderr, "ztoc_make ZTOC BLOB INDEX LAYER-FILE\n");
		return 2;
	}
	r = make(argv);
	if (r < 0)
		fprintf(stderr, "%s\n", strerror(-r));
	return r < 0;
}
