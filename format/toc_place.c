/* Three footers of eStargz, two dialects of zstd:chunked. */
#include "format/toc_place.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/json_field.h"
#include "base/limits.h"

#define TOC_DIGEST "containerd.io/snapshot/stargz/toc.digest"

const char *toc_place_name(enum toc_kind kind)
{
	switch (kind) {
	case TOC_NONE:
		break;
	case TOC_ESTARGZ:
		return "estargz";
	case TOC_ZSTD_CHUNKED:
		return "zstd:chunked";
	}
	return "none";
}

static void get_digest(const struct json_object *annotations, const char *key, struct digest *ret)
{
	struct digest d = {0};
	const char *text;

	if (ret->algorithm == DIGEST_NONE && json_field_string(annotations, key, &text) == 0 &&
	    digest_parse(text, strlen(text), &d) == 0 && d.algorithm == DIGEST_SHA256)
		*ret = d;
}

/* One decimal number and the character behind it. */
static int take_number(const char **p, char end, uint64_t *ret)
{
	uint64_t v = 0;
	const char *begin = *p;

	for (; **p >= '0' && **p <= '9' && *p - begin < 19; (*p)++)
		v = v * 10 + (uint64_t)(**p - '0');
	if (*p == begin || **p != end)
		return -EBADMSG;
	*p += end != '\0';
	*ret = v;
	return 0;
}

static bool size_is_right(const struct toc_place *p)
{
	return p->packed_size > 0 && p->packed_size <= LIMIT_TOC_SIZE && p->plain_size > 0 &&
	       p->plain_size <= LIMIT_TOC_SIZE && p->off <= LIMIT_BLOB_SIZE;
}

/* "offset:packed size:plain size:1"; else the footer will say it. */
static void get_position(const struct json_object *annotations, const char *key, struct toc_place *p)
{
	struct toc_place at = *p;
	const char *text;
	uint64_t type;

	if (p->packed_size == 0 && json_field_string(annotations, key, &text) == 0 &&
	    take_number(&text, ':', &at.off) == 0 && take_number(&text, ':', &at.packed_size) == 0 &&
	    take_number(&text, ':', &at.plain_size) == 0 && take_number(&text, '\0', &type) == 0 && type == 1 &&
	    size_is_right(&at))
		*p = at;
}

void toc_place_find(const struct json_object *descriptor, enum media_type type, struct toc_place *ret)
{
	struct toc_place p = {0};
	struct json_object *a;

	*ret = p;
	if (json_field_object(descriptor, "annotations", &a) < 0)
		return;
	get_digest(a, TOC_DIGEST, &p.plain);
	if (type == MEDIA_LAYER_TAR_ZSTD) {
		p.kind = TOC_ZSTD_CHUNKED;
		get_digest(a, "io.github.containers.zstd-chunked.manifest-checksum", &p.packed);
		get_position(a, "io.github.containers.zstd-chunked.manifest-position", &p);
		get_digest(a, "io.containers.zstd-chunked.manifest-checksum", &p.packed);
		get_position(a, "io.containers.zstd-chunked.manifest-position", &p);
	} else if (type == MEDIA_LAYER_TAR_GZIP) {
		p.kind = TOC_ESTARGZ;
	}
	if (p.kind != TOC_NONE && (p.plain.algorithm != DIGEST_NONE || p.packed.algorithm != DIGEST_NONE))
		*ret = p;
}

static bool take_hex(const uint8_t *digits, uint64_t *ret)
{
	uint64_t v = 0;

	for (size_t i = 0; i < 16; i++) {
		const char *all = "0123456789abcdef", *found = digits[i] ? strchr(all, digits[i]) : NULL;

		if (!found)
			return false;
		v = v << 4 | (uint64_t)(found - all);
	}
	*ret = v;
	return true;
}

/* An empty gzip member whose extra field says it. What lies in it before the offset's digits is `extra`. */
static bool is_member(const uint8_t *tail, size_t size, size_t footer_size, const void *extra, size_t extra_size,
		      const uint8_t **ret)
{
	static const uint8_t head[4] = {0x1f, 0x8b, 8, 4}; /* magic, deflate, with an extra field */
	const uint8_t *f = size < footer_size ? NULL : tail + size - footer_size;

	if (!f || memcmp(f, head, sizeof(head)) != 0 || memcmp(f + 10, extra, extra_size) != 0)
		return false;
	*ret = f + 10 + extra_size;
	return true;
}

static int estargz_footer(struct toc_place *p, const uint8_t *tail, size_t size, uint64_t blob_size, bool *ret_external)
{
	static const uint8_t now[6] = {26, 0, 'S', 'G', 22, 0}, before[2] = {22, 0};
	static const uint8_t external[21] = "\x15\0SG\x11\0STARGZEXTERNAL"; /* and "TOC" */
	const uint8_t *at;
	uint64_t off = 0, footer = 51;

	if (!is_member(tail, size, 51, now, sizeof(now), &at) || !take_hex(at, &off) || memcmp(at + 16, "STARGZ", 6) != 0) {
		footer = 47;
		if (!is_member(tail, size, 47, before, sizeof(before), &at) || !take_hex(at, &off) ||
		    memcmp(at + 16, "STARGZ", 6) != 0) {
			*ret_external = is_member(tail, size, 46, external, 20, &at) && memcmp(at, "TOC", 3) == 0;
			return *ret_external ? 0 : -ENOENT;
		}
	}
	if (off >= blob_size - footer || blob_size - footer - off > LIMIT_TOC_SIZE)
		return -EBADMSG;
	*ret_external = false;
	p->off = off;
	p->packed_size = blob_size - footer - off;
	p->plain_size = 0;
	return 0;
}

static uint64_t le64_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* A skippable frame of 40 or 64 bytes, four or seven numbers and a magic. */
static int zstd_footer(struct toc_place *p, const uint8_t *tail, size_t size, uint64_t blob_size)
{
	static const uint8_t skippable[4] = {0x50, 0x2a, 0x4d, 0x18};
	static const struct {
		size_t size;
		const char *magic;
	} dialects[] = {{64, "GNUlInUx"}, {40, "GnUlInUx"}};

	for (size_t i = 0; i < sizeof(dialects) / sizeof(dialects[0]); i++) {
		size_t n = dialects[i].size;
		const uint8_t *f = size < n + 8 ? NULL : tail + size - n;
		struct toc_place at = *p;

		if (!f || memcmp(f - 8, skippable, 4) != 0 || f[-4] != n || f[-3] || f[-2] || f[-1] ||
		    memcmp(f + n - 8, dialects[i].magic, 8) != 0)
			continue;
		at.off = le64_at(f);
		at.packed_size = le64_at(f + 8);
		at.plain_size = le64_at(f + 16);
		if (le64_at(f + 24) != 1 || !size_is_right(&at) || at.off >= blob_size ||
		    at.packed_size > blob_size - at.off)
			return -EBADMSG;
		*p = at;
		return 0;
	}
	return -ENOENT;
}

int toc_place_footer(struct toc_place *p, const void *tail, size_t size, uint64_t blob_size, bool *ret_external)
{
	*ret_external = false;
	if (size > blob_size)
		return -EBADMSG;
	switch (p->kind) {
	case TOC_NONE:
		break;
	case TOC_ESTARGZ:
		return estargz_footer(p, tail, size, blob_size, ret_external);
	case TOC_ZSTD_CHUNKED:
		return zstd_footer(p, tail, size, blob_size);
	}
	return -ENOENT;
}
