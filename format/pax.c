/* Reads "LENGTH KEY=VALUE\n" records, and says which of two headers counts for a key. */
#include "format/pax.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/report.h"

enum value {
	TEXT,
	NUMBER,
	TIME,
	MAP,
	MAP_OFFSET,
	MAP_SIZE,
};

static const struct key {
	const char *name;
	enum pax_key key;
	enum value value;
	size_t at; /* in struct pax */
} keys[] = {
	{"path", PAX_PATH, TEXT, offsetof(struct pax, path_off)},
	{"linkpath", PAX_LINK, TEXT, offsetof(struct pax, link_off)},
	{"uname", PAX_UNAME, TEXT, offsetof(struct pax, uname_off)},
	{"gname", PAX_GNAME, TEXT, offsetof(struct pax, gname_off)},
	{"size", PAX_SIZE, NUMBER, offsetof(struct pax, size)},
	{"uid", PAX_UID, NUMBER, offsetof(struct pax, uid)},
	{"gid", PAX_GID, NUMBER, offsetof(struct pax, gid)},
	{"mtime", PAX_MTIME, TIME, 0},
	{"GNU.sparse.major", PAX_SPARSE_MAJOR, NUMBER, offsetof(struct pax, sparse_major)},
	{"GNU.sparse.minor", PAX_SPARSE_MINOR, NUMBER, offsetof(struct pax, sparse_minor)},
	{"GNU.sparse.name", PAX_SPARSE_NAME, TEXT, offsetof(struct pax, sparse_name_off)},
	{"GNU.sparse.size", PAX_SPARSE_SIZE, NUMBER, offsetof(struct pax, sparse_size)},
	{"GNU.sparse.realsize", PAX_SPARSE_SIZE, NUMBER, offsetof(struct pax, sparse_size)},
	{"GNU.sparse.numblocks", PAX_SPARSE_BLOCKS, NUMBER, offsetof(struct pax, sparse_blocks)},
	{"GNU.sparse.map", PAX_SPARSE_MAP, MAP, 0},
	{"GNU.sparse.offset", PAX_SPARSE_PAIRS, MAP_OFFSET, 0},
	{"GNU.sparse.numbytes", PAX_SPARSE_PAIRS, MAP_SIZE, 0},
};

struct record { /* checked: key and value lie in the header's body */
	const char *key;
	const char *value;
	size_t key_size, value_size;
};

void pax_free(struct pax *p)
{
	sparse_map_free(&p->map);
	bytes_free(&p->text);
	bytes_free(&p->xattrs);
	*p = (struct pax){0};
}

void pax_clear(struct pax *p)
{
	sparse_map_clear(&p->map);
	p->text.size = p->xattrs.size = 0;
	p->set = p->cleared = 0;
}

const struct pax *pax_choose(const struct pax *local, const struct pax *global, enum pax_key key)
{
	if (local->set & key)
		return local;
	return (global->set & key) && !(local->cleared & key) ? global : NULL;
}

const char *pax_text(const struct pax *p, uint64_t off)
{
	return (const char *)p->text.data + off;
}

/* Digits only; the caller's `end` stops at the first byte that is none. */
static int read_digits(const char *at, const char *end, uint64_t *ret, const char **ret_end)
{
	const char *start = at;
	uint64_t x = 0;

	for (; at < end && *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(x, UINT64_C(10), &x) ||
		    __builtin_add_overflow(x, (uint64_t)(*at - '0'), &x))
			return -EBADMSG;
	if (at == start)
		return -EBADMSG;
	*ret = x;
	*ret_end = at;
	return 0;
}

static int read_number(const struct record *r, uint64_t *ret)
{
	const char *end = r->value + r->value_size, *at;

	if (read_digits(r->value, end, ret, &at) < 0 || at != end || *ret > INT64_MAX)
		return -EBADMSG;
	return 0;
}

/* [-]seconds[.fraction]; what is finer than a nanosecond is cut off, then "-1.5" is -2 s + 0.5 s.
 */
static int read_time(const struct record *r, int64_t *ret, uint32_t *ret_nsec)
{
	const char *end = r->value + r->value_size, *at = r->value;
	uint32_t nsec = 0, unit = 100000000;
	bool minus = *at == '-';
	uint64_t seconds;
	int64_t t;

	if (read_digits(at + minus, end, &seconds, &at) < 0 ||
	    seconds > (uint64_t)INT64_MAX + minus)
		return -EBADMSG;
	if (at < end && *at++ != '.')
		return -EBADMSG;
	for (; at < end; at++, unit /= 10) {
		if (*at < '0' || *at > '9')
			return -EBADMSG;
		nsec += (uint32_t)(*at - '0') * unit;
	}
	t = minus ? (int64_t)(0 - seconds) : (int64_t)seconds;
	if (minus && nsec) {
		if (t == INT64_MIN)
			return -EBADMSG;
		t--;
		nsec = 1000000000 - nsec;
	}
	*ret = t;
	*ret_nsec = nsec;
	return 0;
}

static int keep(struct pax *p, const char *text, size_t size, uint64_t *ret_off)
{
	int r;

	if (size >= LIMIT_PAX_SIZE - p->text.size) /* invariant: text.size <= LIMIT_PAX_SIZE */
		return -EFBIG;
	r = bytes_reserve(&p->text, size + 1);
	if (r < 0)
		return r;
	*ret_off = p->text.size;
	memcpy(p->text.data + p->text.size, text, size);
	p->text.data[p->text.size + size] = '\0';
	p->text.size += size + 1;
	return 0;
}

static int add_text(struct pax *p, const struct record *r, uint64_t *ret_off)
{
	if (memchr(r->value, '\0', r->value_size))
		return -EBADMSG;
	return keep(p, r->value, r->value_size, ret_off);
}

static int add_xattr(struct pax *p, const char *name, size_t name_size, const struct record *r)
{
	uint64_t name_off, value_off;
	struct pax_xattr x;
	int e;

	if (!name_size)
		return -EBADMSG;
	if (name_size > LIMIT_XATTR_NAME_SIZE || r->value_size > LIMIT_XATTR_VALUE_SIZE)
		return -EFBIG;
	e = keep(p, name, name_size, &name_off);
	if (e == 0)
		e = keep(p, r->value, r->value_size, &value_off);
	if (e < 0)
		return e;
	x = (struct pax_xattr){(uint32_t)name_off, (uint32_t)value_off, (uint32_t)r->value_size};
	return bytes_append(&p->xattrs, &x, sizeof(x));
}

static int add_value(struct pax *p, const struct key *k, const struct record *r)
{
	uint64_t *at = (uint64_t *)((char *)p + k->at), number;
	int e;

	switch (k->value) {
	case TEXT:
		return add_text(p, r, at);
	case NUMBER:
		return read_number(r, at);
	case TIME:
		return read_time(r, &p->mtime, &p->mtime_nsec);
	case MAP:
		return sparse_map_list(&p->map, r->value, r->value_size);
	case MAP_OFFSET:
	case MAP_SIZE:
		e = read_number(r, &number);
		if (e < 0)
			return e;
		return k->value == MAP_SIZE ? sparse_map_size(&p->map, number)
					    : sparse_map_offset(&p->map, number);
	}
	return -EINVAL;
}

static int add_record(struct pax *p, const struct record *r, bool global)
{
	static const char xattr[] = "SCHILY.xattr.";
	int e;

	if (r->key_size >= sizeof(xattr) - 1 && !memcmp(r->key, xattr, sizeof(xattr) - 1))
		return add_xattr(p, r->key + sizeof(xattr) - 1, r->key_size - (sizeof(xattr) - 1),
				 r);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const struct key *k = &keys[i];

		if (strlen(k->name) != r->key_size || memcmp(k->name, r->key, r->key_size))
			continue;
		if (global && k->key >= PAX_SPARSE_MAJOR)
			return -EOPNOTSUPP;
		if (!r->value_size) {
			p->set &= ~(uint32_t)k->key;
			p->cleared |= k->key;
			return 0;
		}
		e = add_value(p, k, r);
		if (e < 0)
			return e;
		p->set |= k->key;
		p->cleared &= ~(uint32_t)k->key;
		return 0;
	}
	return 0;
}

/* One record at `at`; *ret_end is where the next one begins. */
static int read_record(const char *at, const char *end, struct record *ret, const char **ret_end)
{
	const char *start = at, *equals;
	uint64_t size;

	if (read_digits(at, end, &size, &at) < 0 || at == end || *at != ' ')
		return -EBADMSG;
	at++;
	/* The length counts its own digits, the blank and the line feed. */
	if (size > (uint64_t)(end - start) || size <= (uint64_t)(at - start))
		return -EBADMSG;
	end = start + size;
	if (end[-1] != '\n')
		return -EBADMSG;
	equals = memchr(at, '=', (size_t)(end - 1 - at));
	if (!equals || equals == at || memchr(at, '\0', (size_t)(equals - at)))
		return -EBADMSG;
	*ret = (struct record){at, equals + 1, (size_t)(equals - at),
			       (size_t)(end - 1 - (equals + 1))};
	*ret_end = end;
	return 0;
}

static const char *reason(int r)
{
	switch (-r) {
	case EFBIG:
		return "is over a limit";
	case EOPNOTSUPP:
		return "is not understood in a global header";
	default:
		return "has a wrong value";
	}
}

int pax_add(struct pax *p, const void *records, size_t size, bool global, const char *name)
{
	const char *at = records, *end = at + size;
	struct record record;
	int r;

	while (at < end) {
		r = read_record(at, end, &record, &at);
		if (r < 0)
			return fail(EBADMSG, "pax header %.200s: its records do not fit together",
				    name);
		r = add_record(p, &record, global);
		if (r == -ENOMEM)
			return r;
		if (r < 0)
			return fail(-r, "pax header %.200s: %.*s %s", name,
				    (int)(record.key_size < 100 ? record.key_size : 100),
				    record.key, reason(r));
	}
	return 0;
}

struct ordered {
	struct tar_xattr xattr;
	uint64_t order; /* qsort(3) may swap equal ones */
};

static int compare(const void *a, const void *b)
{
	const struct ordered *x = a, *y = b;
	int r = strcmp(x->xattr.name, y->xattr.name);

	if (r)
		return r;
	return x->order < y->order ? -1 : x->order > y->order;
}

static int append_xattrs(const struct pax *p, struct bytes *room)
{
	for (size_t i = 0; i < p->xattrs.size / sizeof(struct pax_xattr); i++) {
		const struct pax_xattr *x = (const struct pax_xattr *)p->xattrs.data + i;
		struct ordered to = {
			.xattr = {pax_text(p, x->name_off), p->text.data + x->value_off,
				  x->value_size},
			.order = room->size,
		};
		int r;

		r = bytes_append(room, &to, sizeof(to));
		if (r < 0)
			return r;
	}
	return 0;
}

int pax_xattrs(const struct pax *local, const struct pax *global, struct bytes *room, size_t *ret_n)
{
	size_t n_in, n = 0, size = 0;
	struct ordered *in;
	int r;

	*ret_n = 0;
	if (!local->xattrs.size && !global->xattrs.size)
		return 0;
	room->size = 0;
	r = append_xattrs(global, room);
	if (r == 0)
		r = append_xattrs(local, room);
	if (r < 0)
		return r;
	in = (struct ordered *)room->data;
	n_in = room->size / sizeof(*in);
	qsort(in, n_in, sizeof(*in), compare);
	for (size_t i = 0; i < n_in; i++) {
		struct tar_xattr x = in[i].xattr;

		if (i + 1 < n_in && !strcmp(x.name, in[i + 1].xattr.name))
			continue;
		size += strlen(x.name) + x.value_size;
		/* The answer is the smaller struct, so it never overtakes what is still to be read.
		 */
		memcpy(room->data + n++ * sizeof(x), &x, sizeof(x));
	}
	if (size > LIMIT_XATTRS_SIZE)
		return -EFBIG;
	*ret_n = n;
	return 0;
}
