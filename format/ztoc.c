/* Spans are checked while parsing, files when they are asked for. The gzip checkpoints' blob, little-endian and
 * packed: i32 count, i64 span size, then {i64 packed offset, i64 plain offset, u8 bits, window[32768]} each; an
 * older layout leaves the first one out, which is then the byte behind a plain 10-byte gzip header. */
#include "format/ztoc.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/rfc3339.h"

enum { ZTOC_PACKED_SIZE = 2, ZTOC_SIZE = 3, ZTOC_TOC = 4, ZTOC_COMPRESSION = 5 };
enum { COMPRESSION_ALGORITHM = 0, COMPRESSION_MAX_SPAN = 1, COMPRESSION_DIGESTS = 2, COMPRESSION_CHECKPOINTS = 3 };
enum { TAR_ZINFO_SPAN_SIZE = 1, TAR_ZINFO_SIZE = 2 };
enum { FILE_NAME, FILE_TYPE, FILE_OFF, FILE_SIZE, FILE_LINKNAME, FILE_MODE, FILE_UID, FILE_GID, FILE_MTIME = 10,
       FILE_DEVMAJOR, FILE_DEVMINOR, FILE_XATTRS };
enum { ALGORITHM_GZIP = 1, ALGORITHM_NONE = 2 };

#define CHECKPOINTS_HEAD 12u
#define CHECKPOINT_SIZE (17u + ZTOC_WINDOW_SIZE)
#define GZIP_HEADER_SIZE 10u

struct ztoc {
	uint64_t packed_size, size;
	uint64_t algorithm;
	struct flatbuffer_vector files;
	struct ztoc_span *spans;
	size_t n_spans;
};

void ztoc_free(struct ztoc **z)
{
	if (!*z)
		return;
	free((*z)->spans);
	free(*z);
	*z = NULL;
}

static int get_size(const struct flatbuffer_table *t, unsigned slot, uint64_t max, uint64_t *ret)
{
	uint64_t v;

	if (flatbuffer_number(t, slot, 8, 0, &v) < 0 || v > INT64_MAX)
		return -EBADMSG;
	if (v > max)
		return -EFBIG;
	*ret = v;
	return 0;
}

static int parse_digests(struct ztoc *z, const struct flatbuffer_vector *digests)
{
	for (uint32_t i = 0; i < z->n_spans; i++) {
		const char *text;
		size_t size;

		if (flatbuffer_vector_string(digests, i, &text, &size) < 0 ||
		    digest_parse(text, size, &z->spans[i].digest) < 0 ||
		    z->spans[i].digest.algorithm != DIGEST_SHA256)
			return -EBADMSG;
	}
	return 0;
}

static int parse_stored(struct ztoc *z, const struct flatbuffer_vector *blob)
{
	struct flatbuffer_table t;
	uint64_t span_size, size;

	if (flatbuffer_root(blob->data + blob->pos, blob->n, &t) < 0 ||
	    get_size(&t, TAR_ZINFO_SPAN_SIZE, INT64_MAX, &span_size) < 0 ||
	    get_size(&t, TAR_ZINFO_SIZE, INT64_MAX, &size) < 0)
		return -EBADMSG;
	/* Their reader of tars stops behind the end mark: padding does not count there, but in the spans. */
	if (span_size == 0 || size != z->packed_size || z->size > size || size > LIMIT_LAYER_FILE_SIZE ||
	    z->n_spans != size / span_size + (size % span_size != 0))
		return -EBADMSG;
	z->size = size;
	for (size_t i = 0; i < z->n_spans; i++) {
		struct ztoc_span *s = &z->spans[i];

		s->off = s->packed_off = i * span_size; /* < size */
		s->size = s->packed_size = span_size < size - s->off ? span_size : size - s->off;
	}
	return 0;
}

static int parse_checkpoint(struct cursor *c, struct ztoc_span *s)
{
	if (cursor_u64(c, &s->packed_off) < 0 || cursor_u64(c, &s->off) < 0 || cursor_u8(c, &s->bits) < 0 ||
	    cursor_take(c, ZTOC_WINDOW_SIZE, &s->window) < 0)
		return -EBADMSG;
	if (s->bits > 7 || s->packed_off < GZIP_HEADER_SIZE)
		return -EBADMSG;
	return 0;
}

static int parse_checkpoints(struct ztoc *z, const struct flatbuffer_vector *blob)
{
	struct cursor c = {.data = blob->data + blob->pos, .size = blob->n};
	uint64_t span_size, body;
	uint32_t n;
	bool first_left_out;

	if (cursor_u32(&c, &n) < 0 || cursor_u64(&c, &span_size) < 0 || n != z->n_spans)
		return -EBADMSG;
	body = blob->n - CHECKPOINTS_HEAD;
	first_left_out = body == (uint64_t)(n - 1) * CHECKPOINT_SIZE;
	if (!first_left_out && body != (uint64_t)n * CHECKPOINT_SIZE)
		return -EBADMSG;
	if (first_left_out)
		z->spans[0].packed_off = GZIP_HEADER_SIZE;
	for (size_t i = first_left_out; i < n; i++)
		if (parse_checkpoint(&c, &z->spans[i]) < 0)
			return -EBADMSG;
	if (z->spans[0].off != 0 || z->spans[0].bits != 0)
		return -EBADMSG;
	z->spans[0].window = NULL; /* nothing is before it */
	return 0;
}

/* From where each checkpoint points to how much lies between two. */
static int size_spans(struct ztoc *z)
{
	for (size_t i = 0; i < z->n_spans; i++) {
		struct ztoc_span *s = &z->spans[i];
		bool last = i + 1 == z->n_spans;
		uint64_t packed_end = last ? z->packed_size : s[1].packed_off;
		uint64_t end = last ? z->size : s[1].off;

		/* A stream that ends in an empty block has a checkpoint before that. */
		if (packed_end > z->packed_size || packed_end <= s->packed_off || end > z->size || end < s->off ||
		    (end == s->off && !last))
			return -EBADMSG;
		if (s->bits != 0)
			s->packed_off--; /* >= 9 */
		s->packed_size = packed_end - s->packed_off;
		s->size = end - s->off;
	}
	return 0;
}

static int limit_spans(const struct ztoc *z)
{
	for (size_t i = 0; i < z->n_spans; i++)
		if (z->spans[i].size > LIMIT_SPAN_SIZE || z->spans[i].packed_size > LIMIT_SPAN_SIZE)
			return -EFBIG;
	return 0;
}

static int parse_spans(struct ztoc *z, const struct flatbuffer_table *t)
{
	struct flatbuffer_vector digests, blob;
	uint64_t max_span;
	int r;

	if (flatbuffer_number(t, COMPRESSION_ALGORITHM, 1, ALGORITHM_GZIP, &z->algorithm) < 0 ||
	    flatbuffer_number(t, COMPRESSION_MAX_SPAN, 4, 0, &max_span) < 0 ||
	    flatbuffer_vector(t, COMPRESSION_DIGESTS, 4, &digests) < 0 ||
	    flatbuffer_vector(t, COMPRESSION_CHECKPOINTS, 1, &blob) < 0)
		return -EBADMSG;
	if (z->algorithm != ALGORITHM_GZIP && z->algorithm != ALGORITHM_NONE)
		return -EOPNOTSUPP;
	if (digests.n == 0 || max_span != digests.n - 1)
		return -EBADMSG;
	if (digests.n > LIMIT_ZTOC_SPANS)
		return -EFBIG;
	z->n_spans = digests.n;
	z->spans = calloc(z->n_spans, sizeof(*z->spans));
	if (!z->spans)
		return -ENOMEM;
	r = parse_digests(z, &digests);
	if (r < 0)
		return r;
	if (z->algorithm == ALGORITHM_NONE)
		r = parse_stored(z, &blob);
	else if ((r = parse_checkpoints(z, &blob)) == 0)
		r = size_spans(z);
	return r < 0 ? r : limit_spans(z);
}

int ztoc_parse(const void *data, size_t size, struct ztoc **ret)
{
	_cleanup_(ztoc_free) struct ztoc *z = calloc(1, sizeof(*z));
	struct flatbuffer_table root, toc, compression;
	int r;

	if (!z)
		return -ENOMEM;
	if (size > LIMIT_LAZY_BLOB_SIZE)
		return -EFBIG;
	if (flatbuffer_root(data, size, &root) < 0 || flatbuffer_table(&root, ZTOC_TOC, &toc) < 0 ||
	    flatbuffer_table(&root, ZTOC_COMPRESSION, &compression) < 0)
		return -EBADMSG;
	r = get_size(&root, ZTOC_PACKED_SIZE, LIMIT_BLOB_SIZE, &z->packed_size);
	if (r == 0)
		r = get_size(&root, ZTOC_SIZE, LIMIT_LAYER_FILE_SIZE, &z->size);
	if (r < 0)
		return r;
	r = flatbuffer_vector(&toc, 0, 4, &z->files);
	if (r < 0 && r != -ENODATA) /* a layer without files has no vector */
		return r;
	if (z->files.n > LIMIT_LAYER_ENTRIES)
		return -EFBIG;
	r = parse_spans(z, &compression);
	if (r < 0)
		return r;
	*ret = TAKE(z);
	return 0;
}

bool ztoc_is_gzip(const struct ztoc *z)
{
	return z->algorithm == ALGORITHM_GZIP;
}

uint64_t ztoc_packed_size(const struct ztoc *z)
{
	return z->packed_size;
}

uint64_t ztoc_size(const struct ztoc *z)
{
	return z->size;
}

size_t ztoc_n_files(const struct ztoc *z)
{
	return z->files.n;
}

size_t ztoc_n_spans(const struct ztoc *z)
{
	return z->n_spans;
}

void ztoc_span_get(const struct ztoc *z, size_t i, struct ztoc_span *ret)
{
	assert(i < z->n_spans);
	*ret = z->spans[i];
}

static int parse_type(const struct flatbuffer_table *t, char *ret)
{
	static const struct {
		const char *name;
		char type;
	} types[] = {{"reg", '0'},   {"hardlink", '1'}, {"symlink", '2'}, {"char", '3'},
		     {"block", '4'}, {"dir", '5'},	{"fifo", '6'}};
	const char *text;
	size_t size;

	if (flatbuffer_string(t, FILE_TYPE, &text, &size) < 0)
		return -EBADMSG;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (size == strlen(types[i].name) && memcmp(text, types[i].name, size) == 0) {
			*ret = types[i].type;
			return 0;
		}
	return -EBADMSG;
}

static int get_path(const struct flatbuffer_table *t, unsigned slot, const char **ret, size_t *ret_size)
{
	int r = flatbuffer_string(t, slot, ret, ret_size);

	if (r == -ENODATA) {
		*ret = "";
		*ret_size = 0;
		return 0;
	}
	if (r < 0 || memchr(*ret, 0, *ret_size))
		return -EBADMSG;
	return *ret_size > LIMIT_PATH_SIZE ? -EFBIG : 0;
}

/* An absent time is the epoch. */
static int parse_time(const struct flatbuffer_table *t, struct ztoc_file *f)
{
	const char *text;
	size_t size;
	int r = flatbuffer_string(t, FILE_MTIME, &text, &size);

	if (r == -ENODATA || (r == 0 && size == 0))
		return 0;
	return r < 0 ? r : rfc3339_parse(text, size, &f->mtime, &f->mtime_nsec);
}

static int parse_numbers(const struct ztoc *z, const struct flatbuffer_table *t, struct ztoc_file *f)
{
	uint64_t mode, uid, gid, devmajor, devminor;

	if (get_size(t, FILE_OFF, z->size, &f->off) < 0 || get_size(t, FILE_SIZE, z->size, &f->size) < 0 ||
	    f->size > z->size - f->off)
		return -EBADMSG;
	if (flatbuffer_number(t, FILE_MODE, 8, 0, &mode) < 0 || flatbuffer_number(t, FILE_UID, 4, 0, &uid) < 0 ||
	    flatbuffer_number(t, FILE_GID, 4, 0, &gid) < 0 || get_size(t, FILE_DEVMAJOR, UINT32_MAX, &devmajor) < 0 ||
	    get_size(t, FILE_DEVMINOR, UINT32_MAX, &devminor) < 0)
		return -EBADMSG;
	f->mode = mode & 07777;
	f->uid = (uint32_t)uid;
	f->gid = (uint32_t)gid;
	f->devmajor = (uint32_t)devmajor;
	f->devminor = (uint32_t)devminor;
	return 0;
}

int ztoc_file_get(const struct ztoc *z, size_t i, struct ztoc_file *ret)
{
	struct ztoc_file f = {0};
	struct flatbuffer_table t;
	int r;

	assert(i < z->files.n);
	if (flatbuffer_vector_table(&z->files, (uint32_t)i, &t) < 0)
		return -EBADMSG;
	r = get_path(&t, FILE_NAME, &f.name, &f.name_size);
	if (r == 0)
		r = get_path(&t, FILE_LINKNAME, &f.linkname, &f.linkname_size);
	if (r < 0)
		return r;
	if (f.name_size == 0 || parse_type(&t, &f.type) < 0 || parse_numbers(z, &t, &f) < 0 || parse_time(&t, &f) < 0)
		return -EBADMSG;
	r = flatbuffer_vector(&t, FILE_XATTRS, 4, &f.records);
	if (r < 0 && r != -ENODATA)
		return r;
	f.n_records = f.records.n;
	*ret = f;
	return 0;
}

int ztoc_record_get(const struct ztoc_file *f, size_t i, struct ztoc_record *ret)
{
	struct flatbuffer_table t;
	struct ztoc_record x = {.key = "", .value = ""};
	int r;

	assert(i < f->n_records);
	if (flatbuffer_vector_table(&f->records, (uint32_t)i, &t) < 0)
		return -EBADMSG;
	r = flatbuffer_string(&t, 0, &x.key, &x.key_size);
	if (r == 0 || r == -ENODATA)
		r = flatbuffer_string(&t, 1, &x.value, &x.value_size);
	if (r < 0 && r != -ENODATA)
		return r;
	*ret = x;
	return 0;
}
