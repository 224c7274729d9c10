/* ztoc_write BLOB ZTOC: writes SOCI's table of a packed tar, for tests. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/report.h"
#include "format/ztoc_write.h"

#define PIECE 70001u /* no edge of anything */

struct making {
	struct zinfo_make *zinfo;
	struct ztoc_write *ztoc;
	struct tar *tar;
	struct bytes blob, table;
	struct zinfo made;
};

static void making_free(struct making *m)
{
	zinfo_make_free(&m->zinfo);
	ztoc_write_free(&m->ztoc);
	tar_free(&m->tar);
	bytes_free(&m->blob);
	bytes_free(&m->table);
	zinfo_make_result_free(&m->made);
}

static int take_plain(struct making *g, const uint8_t *data, size_t size)
{
	int r = 0;

	while (r >= 0 && size > 0) {
		struct tar_member m;
		size_t used;

		r = tar_next(g->tar, data, size, &used, &m);
		if (r > 0)
			r = ztoc_write_member(g->ztoc, &m);
		data += used;
		size -= used;
	}
	return r < 0 ? r : 0;
}

static int make(struct making *g)
{
	static uint8_t out[PIECE];
	int r = zinfo_make_new(decoder_sniff(g->blob.data, g->blob.size), &g->zinfo);

	if (r == 0)
		r = ztoc_write_new(&g->ztoc);
	if (r == 0)
		r = tar_new(&g->tar);
	for (size_t off = 0; r == 0 && off < g->blob.size;) {
		size_t n = g->blob.size - off < PIECE ? g->blob.size - off : PIECE, took, made;

		r = zinfo_make_run(g->zinfo, g->blob.data + off, n, &took, out, sizeof(out), &made);
		if (r == 0)
			r = take_plain(g, out, made);
		off += took;
	}
	if (r == 0)
		r = tar_finish(g->tar);
	if (r == 0)
		r = zinfo_make_finish(g->zinfo, &g->made);
	return r < 0 ? r : ztoc_write_finish(g->ztoc, &g->made, tar_end_off(g->tar), &g->table);
}

int main(int argc, char **argv)
{
	_cleanup_(making_free) struct making g = {0};
	_cleanup_(fd_close) int fd = -1;
	int r;

	if (argc != 3)
		return 2;
	r = fd_read_file(AT_FDCWD, argv[1], 1u << 30, &g.blob);
	if (r == 0)
		r = make(&g);
	if (r < 0) {
		fprintf(stderr, "error %d\n", -r);
		return 1;
	}
	fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	return fd < 0 || fd_pwrite_full(fd, g.table.data, g.table.size, 0) < 0;
}
