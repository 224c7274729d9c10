/* Each entry is made by json-c and appended as text, so that only the text grows. */
#include "format/toc_write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/rfc3339.h"

void toc_write_free(struct toc_write *w)
{
	bytes_free(&w->toc);
	bytes_free(&w->split);
}

static int add(struct json_object *o, const char *key, struct json_object *value)
{
	return value && json_object_object_add(o, key, value) == 0 ? 0 : -ENOMEM;
}

static int add_text(struct json_object *o, const char *key, const char *text)
{
	return add(o, key, json_object_new_string(text));
}

int toc_write_number(struct json_object *entry, const char *key, uint64_t n)
{
	return add(entry, key, json_object_new_int64((int64_t)n));
}

int toc_write_digest(struct json_object *entry, const char *key, const struct digest *d)
{
	char text[DIGEST_TEXT_MAX];

	return add_text(entry, key, digest_text(d, text));
}

static int add_time(struct json_object *o, const struct tar_member *m)
{
	char text[RFC3339_TEXT_SIZE];

	return rfc3339_write(m->mtime, m->mtime_nsec, text) < 0 ? -EOPNOTSUPP : add_text(o, "modtime", text);
}

static int base64(const void *data, size_t size, char **ret)
{
	char *text = malloc(BASE64_TEXT_SIZE(size));

	if (!text)
		return -ENOMEM;
	base64_encode(data, size, text);
	*ret = text;
	return 0;
}

static int add_xattrs(struct json_object *o, const struct tar_member *m)
{
	struct json_object *xattrs;
	int r;

	if (m->n_xattrs == 0)
		return 0;
	xattrs = json_object_new_object();
	r = add(o, "xattrs", xattrs);
	for (size_t i = 0; r == 0 && i < m->n_xattrs; i++) {
		_cleanup_(fd_free_memory) char *text = NULL;

		r = base64(m->xattrs[i].value, m->xattrs[i].value_size, &text);
		if (r == 0)
			r = add_text(xattrs, m->xattrs[i].name, text);
	}
	return r;
}

int toc_write_begin(const struct tar_member *m, struct json_object **ret)
{
	_cleanup_(json_field_free) struct json_object *o = json_object_new_object();
	int r = o ? add_text(o, "type", tar_type_name(m->type)) : -ENOMEM;

	if (r == 0)
		r = add_text(o, "name", m->path);
	if (r == 0 && m->link[0])
		r = add_text(o, "linkName", m->link);
	if (r == 0)
		r = toc_write_number(o, "mode", m->mode);
	if (r == 0 && m->type == TAR_FILE)
		r = toc_write_number(o, "size", m->size);
	if (r == 0)
		r = toc_write_number(o, "uid", m->uid);
	if (r == 0)
		r = toc_write_number(o, "gid", m->gid);
	if (r == 0)
		r = add_time(o, m);
	if (r == 0 && (m->type == TAR_CHARACTER_DEVICE || m->type == TAR_BLOCK_DEVICE)) {
		r = toc_write_number(o, "devMajor", m->major);
		if (r == 0)
			r = toc_write_number(o, "devMinor", m->minor);
	}
	if (r == 0)
		r = add_xattrs(o, m);
	if (r == 0)
		*ret = TAKE(o);
	return r;
}

int toc_write_chunk(struct json_object *entry, const struct toc_chunk *chunk)
{
	int r = toc_write_number(entry, "offset", chunk->packed_off);

	if (r == 0 && chunk->off)
		r = toc_write_number(entry, "chunkOffset", chunk->off);
	if (r == 0)
		r = toc_write_number(entry, "chunkSize", chunk->size);
	return r < 0 ? r : toc_write_digest(entry, "chunkDigest", &chunk->digest);
}

int toc_write_entry(struct toc_write *w, struct json_object *entry)
{
	const char *text = json_object_to_json_string_ext(entry, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	_cleanup_(json_field_free) struct json_object *again = NULL;
	int r = text ? json_field_parse(text, strlen(text), &again) : -ENOMEM;

	if (r == -EBADMSG)
		return -EOPNOTSUPP; /* not UTF-8 */
	if (r == 0 && (w->toc.size > LIMIT_TOC_SIZE - LIMIT_TOC_ENTRY_SIZE || strlen(text) > LIMIT_TOC_ENTRY_SIZE))
		return -EFBIG;
	return r < 0 ? r : bytes_printf(&w->toc, "%s%s", w->toc.size ? "," : "", text);
}

int toc_write_finish(const struct toc_write *w, const struct digest *split, struct bytes *ret)
{
	char text[DIGEST_TEXT_MAX];
	int r = bytes_printf(ret, "{\"version\":1,\"entries\":[");

	if (r == 0 && w->toc.size)
		r = bytes_append(ret, w->toc.data, w->toc.size);
	if (r == 0)
		r = split ? bytes_printf(ret, "],\"tarSplitDigest\":\"%s\"}", digest_text(split, text)) :
			    bytes_printf(ret, "]}");
	return r;
}

int toc_write_segment(struct toc_write *w, const void *data, size_t size)
{
	_cleanup_(fd_free_memory) char *text = NULL;
	int r = size > LIMIT_TOC_SIZE / 2 || w->split.size > LIMIT_TOC_SIZE - size ? -EFBIG : base64(data, size, &text);

	return r < 0 ? r : bytes_printf(&w->split, "{\"type\":2,\"payload\":\"%s\",\"position\":%llu}\n", text,
					(unsigned long long)w->n_split++);
}

int toc_write_file(struct toc_write *w, const char *name, uint64_t size, uint64_t crc64)
{
	_cleanup_(json_field_free) struct json_object *o = json_object_new_object();
	char payload[BASE64_TEXT_SIZE(8)];
	uint8_t crc[8];
	int r = o ? toc_write_number(o, "type", 1) : -ENOMEM;

	for (unsigned int i = 0; i < 8; i++)
		crc[i] = (uint8_t)(crc64 >> (56 - 8 * i));
	base64_encode(crc, sizeof(crc), payload);
	if (r == 0)
		r = add_text(o, "name", name);
	if (r == 0 && size)
		r = toc_write_number(o, "size", size);
	if (r == 0)
		r = size ? add_text(o, "payload", payload) : json_object_object_add(o, "payload", NULL);
	if (r == 0)
		r = toc_write_number(o, "position", w->n_split++);
	if (r < 0 || w->split.size > LIMIT_TOC_SIZE)
		return r < 0 ? r : -EFBIG;
	return bytes_printf(&w->split, "%s\n",
			    json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void fill_table(uint64_t *table)
{
	for (uint64_t i = 0; i < 256; i++) {
		uint64_t v = i;

		for (unsigned int k = 0; k < 8; k++)
			v = v & 1 ? v >> 1 ^ UINT64_C(0xd800000000000000) : v >> 1;
		table[i] = v;
	}
}

uint64_t toc_write_crc64(uint64_t crc, const uint8_t *data, size_t size)
{
	static _Thread_local uint64_t table[256]; /* entry 1 is not 0 */

	if (!table[1])
		fill_table(table);
	crc = ~crc;
	for (size_t i = 0; i < size; i++)
		crc = table[(uint8_t)crc ^ data[i]] ^ crc >> 8;
	return ~crc;
}
