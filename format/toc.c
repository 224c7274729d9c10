/* The outer object is walked by hand, each entry of its array is parsed by json-c. */
#include "format/toc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_object.h>
#include <json-c/linkhash.h>

#include "base/base64.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"
#include "base/rfc3339.h"

struct toc {
	const char *at, *end; /* of what is not read yet of the array */
	bool begun;
	struct json_object *entry;
	struct tar_xattr *xattrs;
	uint8_t *values; /* of the xattrs */
};

static void clear_entry(struct toc *t)
{
	json_field_free(&t->entry);
	free(t->xattrs);
	free(t->values);
	t->xattrs = NULL;
	t->values = NULL;
}

void toc_free(struct toc **t)
{
	if (*t)
		clear_entry(*t);
	free(*t);
	*t = NULL;
}

static int broken(void)
{
	return fail(EBADMSG, "its table of contents is not the JSON that it must be");
}

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
		p++;
	return p;
}

/* Behind the text that begins at p; NULL: it has no end. */
static const char *skip_text(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\' && p + 1 < end)
			p++;
	return p < end ? p + 1 : NULL;
}

/* Behind the value that begins at p; NULL: it has no end, or is nested too deep. */
static const char *skip_value(const char *p, const char *end)
{
	unsigned int depth = 0;
	const char *begin = p;

	while (p < end) {
		if (*p == '"') {
			p = skip_text(p, end);
			if (!p || depth == 0)
				return p;
			continue;
		}
		if (depth == 0 && strchr(",]} \t\r\n", *p) && *p)
			return p > begin ? p : NULL;
		if (*p == '{' || *p == '[')
			depth++;
		if (depth > LIMIT_JSON_DEPTH)
			return NULL;
		if ((*p == '}' || *p == ']') && --depth == 0)
			return p + 1;
		p++;
	}
	return NULL;
}

static bool is_text(const char *from, const char *to, const char *want)
{
	return (size_t)(to - from) == strlen(want) && memcmp(from, want, strlen(want)) == 0;
}

/* One pair of the outer object. */
static int take_pair(struct toc *t, const char **p, const char *end, bool *version)
{
	const char *key = *p, *key_end, *value, *value_end;

	key_end = key < end && *key == '"' ? skip_text(key, end) : NULL;
	value = key_end ? skip_space(key_end, end) : end;
	if (value == end || *value != ':')
		return broken();
	value = skip_space(value + 1, end);
	value_end = value < end ? skip_value(value, end) : NULL;
	if (!value_end)
		return broken();
	if (is_text(key, key_end, "\"entries\"")) {
		if (t->at || *value != '[')
			return broken();
		t->at = value + 1;
		t->end = value_end;
	} else if (is_text(key, key_end, "\"version\"")) {
		if (!is_text(value, value_end, "1"))
			return fail(EOPNOTSUPP, "its table of contents has the version %.*s, only 1 is known",
				    value_end - value < 20 ? (int)(value_end - value) : 20, value);
		*version = true;
	}
	*p = skip_space(value_end, end);
	return 0;
}

int toc_open(const void *text, size_t size, struct toc **ret)
{
	_cleanup_(toc_free) struct toc *t = calloc(1, sizeof(*t));
	const char *p = text, *end = p + size;
	bool version = false;
	int r;

	if (!t)
		return -ENOMEM;
	if (size > LIMIT_TOC_SIZE)
		return fail(EFBIG, "its table of contents has %zu bytes, at most %u are allowed", size, LIMIT_TOC_SIZE);
	p = skip_space(p, end);
	if (p == end || *p != '{')
		return broken();
	do {
		p = skip_space(p + 1, end);
		r = take_pair(t, &p, end, &version);
		if (r < 0)
			return r;
	} while (p < end && *p == ',');
	if (p == end || *p != '}' || skip_space(p + 1, end) != end || !t->at || !version)
		return broken();
	*ret = TAKE(t);
	return 0;
}

/* The text of the next entry: 1, or 0 at the end of the array. */
static int next_text(struct toc *t, const char **ret, size_t *ret_size)
{
	const char *p = skip_space(t->at, t->end), *p_end;

	if (*p == ']' && !t->begun) /* the array ends inside [at, end) */
		return 0;
	if (t->begun) {
		if (*p == ']')
			return 0;
		if (*p != ',')
			return broken();
		p = skip_space(p + 1, t->end);
	}
	p_end = *p == '{' ? skip_value(p, t->end) : NULL;
	if (!p_end)
		return broken();
	if ((size_t)(p_end - p) > LIMIT_TOC_ENTRY_SIZE)
		return fail(EFBIG, "an entry of its table of contents has %zu bytes, at most %u are allowed",
			    (size_t)(p_end - p), LIMIT_TOC_ENTRY_SIZE);
	t->begun = true;
	t->at = p_end;
	*ret = p;
	*ret_size = (size_t)(p_end - p);
	return 1;
}

/* What is absent stays as it is. */
static int get_number(const struct json_object *o, const char *key, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;
	int r = json_field_u64(o, key, &v);

	if (r == -ENOENT)
		return 0;
	if (r < 0 || v > max)
		return -EBADMSG;
	*ret = v;
	return 0;
}

static int get_u32(const struct json_object *o, const char *key, uint32_t *ret)
{
	uint64_t v = *ret;
	int r = get_number(o, key, UINT32_MAX, &v);

	*ret = (uint32_t)v;
	return r;
}

static int get_text(const struct json_object *o, const char *key, const char **ret)
{
	int r = json_field_string(o, key, ret);

	if (r == -ENOENT)
		*ret = "";
	return r == -ENOENT ? 0 : r;
}

/* Of another algorithm: -EOPNOTSUPP. */
static int get_digest(const struct json_object *o, const char *key, struct digest *ret)
{
	const char *text;
	int r = get_text(o, key, &text);

	if (r < 0 || !text[0])
		return r;
	r = digest_parse(text, strlen(text), ret);
	return r == 0 && ret->algorithm != DIGEST_SHA256 ? -EOPNOTSUPP : r;
}

static int get_chunk(const struct json_object *o, struct toc_chunk *ret)
{
	const char *kind;
	int r;

	if (get_number(o, "chunkOffset", LIMIT_LAYER_FILE_SIZE, &ret->off) < 0 ||
	    get_number(o, "chunkSize", LIMIT_LAYER_FILE_SIZE, &ret->size) < 0 ||
	    get_number(o, "offset", LIMIT_BLOB_SIZE, &ret->packed_off) < 0 ||
	    get_number(o, "innerOffset", LIMIT_LAYER_FILE_SIZE, &ret->skip) < 0 || get_text(o, "chunkType", &kind) < 0)
		return -EBADMSG;
	if (kind[0] && strcmp(kind, "zeros") != 0)
		return -EOPNOTSUPP;
	r = get_digest(o, "chunkDigest", &ret->digest);
	ret->zeros = kind[0];
	return r;
}

static int get_time(const struct json_object *o, struct tar_member *m)
{
	const char *text;
	int r = get_text(o, "modtime", &text);

	return r < 0 || !text[0] ? r : rfc3339_parse(text, strlen(text), &m->mtime, &m->mtime_nsec);
}

static int get_attributes(const struct json_object *o, struct tar_member *m)
{
	uint64_t mode = 0;

	if (get_text(o, "name", &m->path) < 0 || !m->path[0] || get_text(o, "linkName", &m->link) < 0 ||
	    get_number(o, "mode", UINT64_MAX, &mode) < 0 || get_u32(o, "uid", &m->uid) < 0 ||
	    get_u32(o, "gid", &m->gid) < 0 || get_u32(o, "devMajor", &m->major) < 0 ||
	    get_u32(o, "devMinor", &m->minor) < 0 || get_time(o, m) < 0)
		return -EBADMSG;
	m->mode = mode & 07777;
	return 0;
}

static int take_xattr(struct toc *t, size_t n, const char *name, struct json_object *value, size_t *used)
{
	size_t size = 0;

	if (!json_object_is_type(value, json_type_string) || !name[0] ||
	    base64_decode(json_object_get_string(value), (size_t)json_object_get_string_len(value), t->values + *used,
			  &size) < 0)
		return -EBADMSG;
	t->xattrs[n] = (struct tar_xattr){.name = name, .value = t->values + *used, .value_size = size};
	*used += size;
	return 0;
}

/* The decoded values are shorter than the entry's text. */
static int get_xattrs(struct toc *t, size_t text_size, struct tar_member *m)
{
	struct json_object *o;
	size_t used = 0;
	int r = json_field_object(t->entry, "xattrs", &o);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	t->xattrs = calloc((size_t)json_object_object_length(o) + 1, sizeof(*t->xattrs));
	t->values = malloc(BASE64_PLAIN_SIZE(text_size));
	if (!t->xattrs || !t->values)
		return -ENOMEM;
	json_object_object_foreach(o, name, value) {
		r = take_xattr(t, m->n_xattrs, name, value, &used);
		if (r < 0)
			return r;
		m->n_xattrs++;
	}
	m->xattrs = t->xattrs;
	return 0;
}

static int get_type(const struct json_object *o, bool *ret_chunk, enum tar_type *ret)
{
	static const struct {
		const char *name;
		enum tar_type type;
	} types[] = {{"reg", TAR_FILE},		      {"dir", TAR_DIRECTORY},	    {"symlink", TAR_SYMLINK},
		     {"hardlink", TAR_HARD_LINK},     {"char", TAR_CHARACTER_DEVICE}, {"block", TAR_BLOCK_DEVICE},
		     {"fifo", TAR_FIFO}};
	const char *text;
	int r = get_text(o, "type", &text);

	if (r < 0)
		return r;
	*ret_chunk = strcmp(text, "chunk") == 0;
	for (size_t i = 0; !*ret_chunk && i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(text, types[i].name) == 0) {
			*ret = types[i].type;
			return 0;
		}
	return *ret_chunk ? 0 : -EBADMSG;
}

static bool is_hidden(const char *path)
{
	static const char *const names[] = {".prefetch.landmark", ".no.prefetch.landmark", "stargz.index.json"};

	while (*path == '/' || (path[0] == '.' && path[1] == '/'))
		path++;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(path, names[i]) == 0)
			return true;
	return false;
}

static int get_entry(struct toc *t, size_t text_size, struct toc_entry *e)
{
	const struct json_object *o = t->entry;
	int r = get_type(o, &e->is_chunk, &e->member.type);

	if (r == 0 && (e->is_chunk || e->member.type == TAR_FILE))
		r = get_chunk(o, &e->chunk);
	if (r < 0 || e->is_chunk)
		return r;
	r = get_attributes(o, &e->member);
	if (r < 0)
		return r;
	e->is_hidden = is_hidden(e->member.path);
	if (e->member.type == TAR_FILE) {
		r = get_number(o, "size", LIMIT_LAYER_FILE_SIZE, &e->member.size);
		if (r == 0)
			r = get_number(o, "endOffset", LIMIT_BLOB_SIZE, &e->packed_end);
		if (r == 0)
			r = get_digest(o, "digest", &e->digest);
		if (r < 0)
			return r;
	}
	return get_xattrs(t, text_size, &e->member);
}

int toc_next(struct toc *t, struct toc_entry *ret)
{
	struct toc_entry e = {0};
	const char *text = NULL, *name;
	size_t size = 0;
	int r = next_text(t, &text, &size);

	if (r <= 0)
		return r;
	clear_entry(t);
	r = json_field_parse(text, size, &t->entry);
	if (r == 0)
		r = get_entry(t, size, &e);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		name = t->entry && get_text(t->entry, "name", &name) == 0 ? name : "";
		return fail(-r, "the entry \"%.200s\" of its table of contents %s", name,
			    r == -EOPNOTSUPP ? "has a digest or a kind of chunk that is not known" :
					       "cannot be read");
	}
	*ret = e;
	return 1;
}
