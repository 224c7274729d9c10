/* Files are appended as they come, and copied behind the rest at the end: offsets inside them count from themselves. */
#include "format/ztoc_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "base/rfc3339.h"
#include "format/flatbuffer_write.h"

#define BLOCK 512u
#define VERSION "0.9"

/* Where the slots lie in their tables (ztoc.fbs, zinfo.fbs). */
enum { ZTOC_VERSION = 4, ZTOC_TOOL = 8, ZTOC_TOC = 12, ZTOC_PACKED_SIZE = 16, ZTOC_SIZE = 24, ZTOC_COMPRESSION = 32,
       ZTOC_TABLE = 40 };
enum { TOC_FILES = 4, TOC_TABLE = 8 };
enum { COMPRESSION_MAX_SPAN = 4, COMPRESSION_DIGESTS = 8, COMPRESSION_CHECKPOINTS = 12, COMPRESSION_ALGORITHM = 16,
       COMPRESSION_TABLE = 20 };
enum { FILE_NAME = 4, FILE_OFF = 8, FILE_SIZE = 16, FILE_MODE = 24, FILE_MAJOR = 32, FILE_MINOR = 40, FILE_TYPE = 48,
       FILE_LINK = 52, FILE_UID = 56, FILE_GID = 60, FILE_UNAME = 64, FILE_GNAME = 68, FILE_TIME = 72, FILE_XATTRS = 76,
       FILE_TABLE = 80 };
enum { XATTR_KEY = 4, XATTR_VALUE = 8, XATTR_TABLE = 12 };
enum { TAR_ZINFO_VERSION = 4, TAR_ZINFO_SPAN_SIZE = 8, TAR_ZINFO_SIZE = 16, TAR_ZINFO_TABLE = 24 };
enum { ALGORITHM_GZIP = 1, ALGORITHM_NONE = 2 };

static const uint16_t ztoc_slots[] = {ZTOC_VERSION, ZTOC_TOOL, ZTOC_PACKED_SIZE, ZTOC_SIZE, ZTOC_TOC, ZTOC_COMPRESSION};
static const uint16_t toc_slots[] = {TOC_FILES};
static const uint16_t compression_slots[] = {COMPRESSION_ALGORITHM, COMPRESSION_MAX_SPAN, COMPRESSION_DIGESTS,
					     COMPRESSION_CHECKPOINTS};
static const uint16_t file_slots[] = {FILE_NAME, FILE_TYPE, FILE_OFF,	FILE_SIZE, FILE_LINK,  FILE_MODE,  FILE_UID,
				      FILE_GID,	 FILE_UNAME, FILE_GNAME, FILE_TIME, FILE_MAJOR, FILE_MINOR, FILE_XATTRS};
static const uint16_t xattr_slots[] = {XATTR_KEY, XATTR_VALUE};
static const uint16_t tar_zinfo_slots[] = {TAR_ZINFO_VERSION, TAR_ZINFO_SPAN_SIZE, TAR_ZINFO_SIZE};
#define N(slots) (sizeof(slots) / sizeof((slots)[0]))

struct ztoc_write {
	struct bytes files;
	struct bytes places; /* uint32_t each: of the files' tables in it */
	size_t with_xattrs, without, xattr; /* vtables in `files` */
	uint64_t end; /* of the member before, rounded up to a block */
};

void ztoc_write_free(struct ztoc_write **w)
{
	if (!*w)
		return;
	bytes_free(&(*w)->files);
	bytes_free(&(*w)->places);
	free(*w);
	*w = NULL;
}

int ztoc_write_new(struct ztoc_write **ret)
{
	_cleanup_(ztoc_write_free) struct ztoc_write *w = calloc(1, sizeof(*w));
	int r = w ? 0 : -ENOMEM;

	if (r == 0)
		r = flatbuffer_write_vtable(&w->files, file_slots, N(file_slots), FILE_TABLE, &w->with_xattrs);
	if (r == 0)
		r = flatbuffer_write_vtable(&w->files, file_slots, N(file_slots) - 1, FILE_TABLE, &w->without);
	if (r == 0)
		r = flatbuffer_write_vtable(&w->files, xattr_slots, N(xattr_slots), XATTR_TABLE, &w->xattr);
	if (r == 0)
		*ret = TAKE(w);
	return r;
}

static int cannot(const struct tar_member *m, const char *what)
{
	return fail(EOPNOTSUPP, "member %.200s %s, which SOCI's table cannot say", m->path, what);
}

static int add_string(struct bytes *b, size_t at, const char *text)
{
	return flatbuffer_write_string(b, at, text, strlen(text));
}

/* What the table calls xattrs are pax records. */
static int add_xattrs(struct ztoc_write *w, size_t file, const struct tar_member *m)
{
	char key[sizeof("SCHILY.xattr.") + LIMIT_XATTR_NAME_SIZE] = "SCHILY.xattr.";
	const size_t prefix = strlen(key);
	size_t list, table;
	int r;

	if (m->n_xattrs == 0)
		return 0;
	r = flatbuffer_write_vector(&w->files, file + FILE_XATTRS, m->n_xattrs, 4, &list);
	for (size_t i = 0; r == 0 && i < m->n_xattrs; i++) {
		const struct tar_xattr *x = &m->xattrs[i];

		if (strlen(x->name) > LIMIT_XATTR_NAME_SIZE)
			return -EFBIG;
		strcpy(key + prefix, x->name);
		r = flatbuffer_write_table(&w->files, w->xattr, XATTR_TABLE, &table);
		if (r == 0)
			flatbuffer_write_offset(&w->files, list + 4 * i, table);
		if (r == 0)
			r = add_string(&w->files, table + XATTR_KEY, key);
		if (r == 0)
			r = flatbuffer_write_string(&w->files, table + XATTR_VALUE, x->value, x->value_size);
	}
	return r;
}

static void put_numbers(struct bytes *b, size_t file, const struct tar_member *m)
{
	flatbuffer_write_u64(b, file + FILE_OFF, m->body_off);
	flatbuffer_write_u64(b, file + FILE_SIZE, m->size);
	flatbuffer_write_u64(b, file + FILE_MODE, m->mode);
	flatbuffer_write_u64(b, file + FILE_MAJOR, m->major);
	flatbuffer_write_u64(b, file + FILE_MINOR, m->minor);
	flatbuffer_write_u32(b, file + FILE_UID, m->uid);
	flatbuffer_write_u32(b, file + FILE_GID, m->gid);
}

static int add_file(struct ztoc_write *w, const struct tar_member *m, const char *when)
{
	const struct {
		size_t at;
		const char *text;
	} texts[] = {{FILE_NAME, m->path},   {FILE_TYPE, tar_type_name(m->type)}, {FILE_LINK, m->link},
		     {FILE_UNAME, m->uname}, {FILE_GNAME, m->gname},		  {FILE_TIME, when}};
	uint32_t place;
	size_t file;
	int r = flatbuffer_write_table(&w->files, m->n_xattrs ? w->with_xattrs : w->without, FILE_TABLE, &file);

	if (r < 0)
		return r;
	place = (uint32_t)file;
	put_numbers(&w->files, file, m);
	for (size_t i = 0; r == 0 && i < N(texts); i++)
		r = add_string(&w->files, file + texts[i].at, texts[i].text);
	if (r == 0)
		r = add_xattrs(w, file, m);
	return r < 0 ? r : bytes_append(&w->places, &place, sizeof(place));
}

int ztoc_write_member(struct ztoc_write *w, const struct tar_member *m)
{
	char when[RFC3339_TEXT_SIZE];

	if (m->sparse)
		return cannot(m, "is sparse");
	if (m->header_off != w->end)
		return cannot(m, "has something between itself and what is before it");
	if (rfc3339_write(m->mtime, m->mtime_nsec, when) < 0)
		return cannot(m, "is of a year before 0 or after 9999");
	if (w->files.size > LIMIT_LAZY_BLOB_SIZE)
		return -EFBIG;
	w->end = (m->body_off + m->size + BLOCK - 1) / BLOCK * BLOCK;
	return add_file(w, m, when);
}

static int add_tar_zinfo(struct bytes *b, uint64_t size)
{
	size_t vtable, table;
	int r = bytes_append(b, (const uint8_t[4]){0}, 4);

	if (r == 0)
		r = flatbuffer_write_vtable(b, tar_zinfo_slots, N(tar_zinfo_slots), TAR_ZINFO_TABLE, &vtable);
	if (r == 0)
		r = flatbuffer_write_table(b, vtable, TAR_ZINFO_TABLE, &table);
	if (r < 0)
		return r;
	flatbuffer_write_offset(b, 0, table);
	flatbuffer_write_u32(b, table + TAR_ZINFO_VERSION, 2);
	flatbuffer_write_u64(b, table + TAR_ZINFO_SPAN_SIZE, ZINFO_SPAN_SIZE);
	flatbuffer_write_u64(b, table + TAR_ZINFO_SIZE, size);
	return 0;
}

static int add_checkpoints(struct bytes *b, size_t at, const struct zinfo *z)
{
	_cleanup_(bytes_free) struct bytes tar = {0};
	const struct bytes *from = z->gzip ? &z->checkpoints : &tar;
	size_t pos;
	int r = z->gzip ? 0 : add_tar_zinfo(&tar, z->packed_size);

	if (r == 0)
		r = flatbuffer_write_vector(b, at, from->size, 1, &pos);
	if (r == 0)
		memcpy(b->data + pos, from->data, from->size);
	return r;
}

static int add_digests(struct bytes *b, size_t at, const struct zinfo *z)
{
	size_t list;
	int r = flatbuffer_write_vector(b, at, z->n_spans, 4, &list);

	for (size_t i = 0; r == 0 && i < z->n_spans; i++) {
		char text[DIGEST_TEXT_MAX];
		struct digest d;

		memcpy(&d, z->digests.data + i * sizeof(d), sizeof(d));
		r = add_string(b, list + 4 * i, digest_text(&d, text));
	}
	return r;
}

static int add_compression(struct bytes *b, size_t at, const struct zinfo *z)
{
	size_t vtable, table;
	int r = flatbuffer_write_vtable(b, compression_slots, N(compression_slots), COMPRESSION_TABLE, &vtable);

	if (r == 0)
		r = flatbuffer_write_table(b, vtable, COMPRESSION_TABLE, &table);
	if (r < 0)
		return r;
	flatbuffer_write_offset(b, at, table);
	flatbuffer_write_u32(b, table + COMPRESSION_MAX_SPAN, (uint32_t)z->n_spans - 1);
	b->data[table + COMPRESSION_ALGORITHM] = z->gzip ? ALGORITHM_GZIP : ALGORITHM_NONE;
	r = add_digests(b, table + COMPRESSION_DIGESTS, z);
	return r < 0 ? r : add_checkpoints(b, table + COMPRESSION_CHECKPOINTS, z);
}

static int add_toc(struct bytes *b, size_t at, const struct ztoc_write *w)
{
	size_t n = w->places.size / sizeof(uint32_t), vtable, table, list, base;
	int r = flatbuffer_write_vtable(b, toc_slots, N(toc_slots), TOC_TABLE, &vtable);

	if (r == 0)
		r = flatbuffer_write_table(b, vtable, TOC_TABLE, &table);
	if (r < 0)
		return r;
	flatbuffer_write_offset(b, at, table);
	r = flatbuffer_write_vector(b, table + TOC_FILES, n, 4, &list);
	if (r == 0)
		r = flatbuffer_write_align(b);
	base = b->size;
	if (r == 0)
		r = bytes_append(b, w->files.data, w->files.size);
	for (size_t i = 0; r == 0 && i < n; i++) {
		uint32_t place;

		memcpy(&place, w->places.data + i * sizeof(place), sizeof(place));
		flatbuffer_write_offset(b, list + 4 * i, base + place);
	}
	return r;
}

int ztoc_write_finish(struct ztoc_write *w, const struct zinfo *z, uint64_t tar_size, struct bytes *ret)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	size_t vtable, table;
	int r = bytes_append(&b, (const uint8_t[4]){0}, 4);

	if (r == 0)
		r = flatbuffer_write_vtable(&b, ztoc_slots, N(ztoc_slots), ZTOC_TABLE, &vtable);
	if (r == 0)
		r = flatbuffer_write_table(&b, vtable, ZTOC_TABLE, &table);
	if (r < 0)
		return r;
	flatbuffer_write_offset(&b, 0, table);
	flatbuffer_write_u64(&b, table + ZTOC_PACKED_SIZE, z->packed_size);
	flatbuffer_write_u64(&b, table + ZTOC_SIZE, tar_size);
	r = add_string(&b, table + ZTOC_VERSION, VERSION);
	if (r == 0)
		r = add_string(&b, table + ZTOC_TOOL, ZTOC_WRITE_TOOL);
	if (r == 0)
		r = add_compression(&b, table + ZTOC_COMPRESSION, z);
	if (r == 0)
		r = add_toc(&b, table + ZTOC_TOC, w);
	if (r == 0 && b.size > LIMIT_LAZY_BLOB_SIZE)
		r = -EFBIG;
	if (r < 0)
		return r;
	*ret = b;
	b = (struct bytes){0};
	return 0;
}
