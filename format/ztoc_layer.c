/* Files are put in the order of their bodies, which is the tar's, and told to the builder as if the tar passed by. */
#include "format/ztoc_layer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "format/span_table.h"

#define BLOCK 512u
#define WINDOW_LEVEL 1 /* they stay on this machine */
#define RECORD_COST 16 /* counts as text: many records may be one in the table */

struct place {
	uint64_t off;
	uint32_t file; /* in the table */
};

struct building {
	const struct ztoc *z;
	struct layer_builder *builder;
	uint64_t end;  /* of what lies before, rounded up to a block */
	uint64_t text; /* read so far */
	char path[LIMIT_PATH_SIZE + 1], link[LIMIT_PATH_SIZE + 1];
	struct bytes keys;
	struct bytes xattrs; /* struct tar_xattr */
};

static void building_free(struct building *g)
{
	bytes_free(&g->keys);
	bytes_free(&g->xattrs);
}

static int wrong(const struct building *g, const char *what)
{
	return fail(EBADMSG, "its zTOC is broken: member %.200s %s", g->path, what);
}

static int take_file(const struct ztoc *z, size_t i, struct ztoc_file *ret)
{
	int r = ztoc_file_get(z, i, ret);

	return r < 0 ? fail(-r, "its zTOC is broken: what it says of file %zu cannot be read", i + 1) : 0;
}

static int by_off(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return x->off != y->off ? (x->off < y->off ? -1 : 1) : (x->file > y->file) - (x->file < y->file);
}

static int sort_files(const struct ztoc *z, struct place **ret)
{
	size_t n = ztoc_n_files(z);
	_cleanup_(fd_free_memory) struct place *places = calloc(n + 1, sizeof(*places));

	if (!places)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct ztoc_file f;
		int r = take_file(z, i, &f);

		if (r < 0)
			return r;
		places[i] = (struct place){f.off, (uint32_t)i};
	}
	qsort(places, n, sizeof(*places), by_off);
	*ret = TAKE(places);
	return 0;
}

/* The same bytes of the table can be the text of any number of files. */
static int count_text(struct building *g, uint64_t size)
{
	g->text += size;
	return g->text <= LIMIT_ZTOC_TEXT ? 0 : fail(EFBIG, "its zTOC has more than %u bytes of names and xattrs",
						     LIMIT_ZTOC_TEXT);
}

static bool begins(const struct ztoc_record *x, const char *with)
{
	return x->key_size >= strlen(with) && memcmp(x->key, with, strlen(with)) == 0;
}

#define XATTR "SCHILY.xattr."

/* How many records are xattrs, and the size of their names. */
static int count_xattrs(struct building *g, const struct ztoc_file *f, size_t *ret_n, size_t *ret_names)
{
	size_t n = 0, names = 0, values = 0;

	for (size_t i = 0; i < f->n_records; i++) {
		struct ztoc_record x;
		int r;

		if (ztoc_record_get(f, i, &x) < 0)
			return wrong(g, "has an xattr that cannot be read");
		r = count_text(g, RECORD_COST + x.key_size + x.value_size);
		if (r < 0)
			return r;
		if (begins(&x, "GNU.sparse."))
			return fail(EOPNOTSUPP, "member %.200s is sparse, and its zTOC does not say where its parts lie",
				    g->path);
		if (!begins(&x, XATTR))
			continue;
		if (x.key_size == strlen(XATTR) || memchr(x.key, 0, x.key_size))
			return wrong(g, "has an xattr whose name is none");
		n++;
		names += x.key_size + 1;
		values += x.value_size;
		if (names + values > LIMIT_XATTRS_SIZE)
			return fail(EFBIG, "member %.200s: over %u bytes of xattrs", g->path, LIMIT_XATTRS_SIZE);
	}
	*ret_n = n;
	*ret_names = names;
	return 0;
}

static int take_xattrs(struct building *g, const struct ztoc_file *f, struct tar_member *m)
{
	size_t n = 0, names = 0;
	int r = count_xattrs(g, f, &n, &names);

	g->keys.size = g->xattrs.size = 0;
	if (r == 0)
		r = bytes_reserve(&g->keys, names + 1); /* moves no more: names are pointed to */
	for (size_t i = 0; r == 0 && n > 0 && i < f->n_records; i++) {
		struct ztoc_record x;
		struct tar_xattr xattr;

		r = ztoc_record_get(f, i, &x);
		if (r < 0 || !begins(&x, XATTR))
			continue;
		xattr = (struct tar_xattr){(const char *)g->keys.data + g->keys.size, x.value, x.value_size};
		bytes_append(&g->keys, x.key + strlen(XATTR), x.key_size - strlen(XATTR));
		bytes_append(&g->keys, "", 1);
		r = bytes_append(&g->xattrs, &xattr, sizeof(xattr));
	}
	if (r < 0)
		return r;
	m->n_xattrs = g->xattrs.size / sizeof(struct tar_xattr);
	m->xattrs = (const struct tar_xattr *)g->xattrs.data;
	return 0;
}

/* A header of at least a block is before the body. Only files have one, whatever size another type says. */
static int check_place(struct building *g, const struct ztoc_file *f)
{
	uint64_t size = f->type == '0' ? f->size : 0, end;

	if (f->off % BLOCK || f->off < g->end || f->off - g->end < BLOCK)
		return wrong(g, "lies where another one is, or where no tar has a member");
	end = f->off + size; /* at most ztoc_size() */
	g->end = (end + BLOCK - 1) / BLOCK * BLOCK;
	return 0;
}

static int add_file(struct building *g, size_t i)
{
	static const enum tar_type types[] = {TAR_FILE,	       TAR_HARD_LINK, TAR_SYMLINK, TAR_CHARACTER_DEVICE,
					      TAR_BLOCK_DEVICE, TAR_DIRECTORY, TAR_FIFO};
	struct tar_member m = {.path = g->path, .link = g->link};
	struct ztoc_file f;
	int r = take_file(g->z, i, &f);

	if (r < 0)
		return r;
	memcpy(g->path, f.name, f.name_size);
	g->path[f.name_size] = '\0';
	memcpy(g->link, f.linkname, f.linkname_size);
	g->link[f.linkname_size] = '\0';
	r = count_text(g, f.name_size + f.linkname_size);
	if (r == 0)
		r = check_place(g, &f);
	if (r == 0)
		r = take_xattrs(g, &f, &m);
	if (r < 0)
		return r;
	m.type = types[f.type - '0'];
	m.mode = f.mode;
	m.uid = f.uid;
	m.gid = f.gid;
	m.mtime = f.mtime;
	m.mtime_nsec = f.mtime_nsec;
	m.major = f.devmajor;
	m.minor = f.devminor;
	m.size = m.type == TAR_FILE ? f.size : 0;
	m.body_off = f.off;
	return layer_builder_add(g->builder, &m);
}

static int add_files(const struct ztoc *z, struct layer_builder *b)
{
	_cleanup_(building_free) struct building g = {.z = z, .builder = b};
	_cleanup_(fd_free_memory) struct place *places = NULL;
	int r = sort_files(z, &places);

	for (size_t i = 0; r == 0 && i < ztoc_n_files(z); i++)
		r = add_file(&g, places[i].file);
	return r;
}

static int add_window(ZSTD_CCtx *zstd, const uint8_t *window, struct bytes *windows, struct span *s)
{
	int r = bytes_reserve(windows, LIMIT_WINDOW_SIZE);
	size_t n;

	if (r < 0)
		return r;
	n = ZSTD_compressCCtx(zstd, windows->data + windows->size, LIMIT_WINDOW_SIZE, window, ZTOC_WINDOW_SIZE,
			      WINDOW_LEVEL);
	if (ZSTD_isError(n))
		return -ENOMEM;
	s->window_off = windows->size;
	s->window_size = (uint32_t)n;
	windows->size += n;
	return 0;
}

/* What is stored is its own plain bytes, so that their digest can be checked on the disk too. */
static int add_span(ZSTD_CCtx *zstd, const struct ztoc *z, size_t i, struct span_table_builder *b, struct bytes *windows)
{
	struct ztoc_span from;
	struct span s;
	int r = 0;

	ztoc_span_get(z, i, &from);
	if (from.size == 0)
		return 0;
	s = (struct span){.off = from.off,
			  .size = from.size,
			  .kind = ztoc_is_gzip(z) ? SPAN_GZIP : SPAN_STORED,
			  .packed_off = from.packed_off,
			  .packed_size = from.packed_size,
			  .bits = from.bits ? (uint8_t)(8 - from.bits) : 0,
			  .digest_of = !ztoc_is_gzip(z)		     ? SPAN_DIGEST_PLAIN :
				       i + 1 < ztoc_n_spans(z) ? SPAN_DIGEST_PACKED :
								 SPAN_DIGEST_PACKED_LAST,
			  .digest = from.digest};
	if (from.window)
		r = add_window(zstd, from.window, windows, &s);
	return r < 0 ? r : span_table_add(b, &s);
}

static int write_spans(const struct ztoc *z, struct bytes *ret_spans, struct bytes *ret_windows)
{
	_cleanup_(span_table_builder_free) struct span_table_builder b = {.foreign = true};
	ZSTD_CCtx *zstd = ZSTD_createCCtx();
	int r = zstd ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < ztoc_n_spans(z); i++)
		r = add_span(zstd, z, i, &b, ret_windows);
	ZSTD_freeCCtx(zstd);
	return r < 0 ? r : span_table_finish(&b, ret_spans);
}

int ztoc_layer_build(const struct ztoc *z, struct layer_builder *b, struct bytes *ret_spans, struct bytes *ret_windows)
{
	int r;

	if (ztoc_size(z) > LIMIT_EXPANSION_FREE && ztoc_size(z) / LIMIT_EXPANSION > ztoc_packed_size(z))
		return fail(EFBIG, "its zTOC says that %" PRIu64 " bytes unpack to %" PRIu64, ztoc_packed_size(z),
			    ztoc_size(z));
	r = add_files(z, b);
	return r < 0 ? r : write_spans(z, ret_spans, ret_windows);
}
