/* One small JSON file for each name and platform; the file's name is a hash of both. */
#include "cache/names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/json_field.h"
#include "base/report.h"

#define NAME_FILE_MAX 16384u

static void file_name(const char *reference, const char *platform, char out[static DIGEST_HEX_MAX + 1])
{
	char both[LIMIT_PATH_SIZE + 512 + 130];
	struct digest d;
	int n = snprintf(both, sizeof(both), "%s\n%s", reference, platform);

	hash_bytes(both, (size_t)n, &d);
	digest_hex(&d, out);
}

static int parse_entry(const struct bytes *b, struct name_entry *ret)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	const char *reference, *platform, *digest, *manifest;
	struct name_entry *e = ret;
	uint64_t checked = 0;

	if (json_field_parse(b->data, b->size, &o) < 0 || json_field_string(o, "reference", &reference) < 0 ||
	    json_field_string(o, "platform", &platform) < 0 || json_field_string(o, "digest", &digest) < 0 ||
	    json_field_string(o, "manifest", &manifest) < 0 || json_field_u64(o, "checked", &checked) < 0)
		return -EBADMSG;
	if (strlen(reference) >= sizeof(e->reference) || strlen(platform) >= sizeof(e->platform) ||
	    digest_parse(digest, strlen(digest), &e->digest) < 0 ||
	    digest_parse(manifest, strlen(manifest), &e->manifest) < 0)
		return -EBADMSG;
	strcpy(e->reference, reference);
	strcpy(e->platform, platform);
	e->checked = (int64_t)checked;
	return 0;
}

int names_get(const struct store *s, const char *reference, const char *platform, struct name_entry *ret)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	char name[DIGEST_HEX_MAX + 1];
	int r;

	file_name(reference, platform, name);
	r = fd_read_file(s->names_fd, name, NAME_FILE_MAX, &b);
	if (r == -ENOENT)
		return r;
	if (r < 0)
		return fail(-r, "%s/names/%s: %s", s->store_path, name, strerror(-r));
	r = parse_entry(&b, ret);
	if (r < 0 || strcmp(ret->reference, reference) != 0)
		return -ENOENT; /* damaged: as if it had never been asked */
	return 0;
}

int names_put(const struct store *s, const struct name_entry *e)
{
	_cleanup_(json_field_free) struct json_object *o = json_object_new_object();
	_cleanup_(bytes_free) struct bytes old = {0};
	char name[DIGEST_HEX_MAX + 1], text[DIGEST_TEXT_MAX];
	const char *body;
	int r;

	if (!o)
		return -ENOMEM;
	json_object_object_add(o, "reference", json_object_new_string(e->reference));
	json_object_object_add(o, "platform", json_object_new_string(e->platform));
	json_object_object_add(o, "digest", json_object_new_string(digest_text(&e->digest, text)));
	json_object_object_add(o, "manifest", json_object_new_string(digest_text(&e->manifest, text)));
	json_object_object_add(o, "checked", json_object_new_int64(e->checked));
	body = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	file_name(e->reference, e->platform, name);
	if (fd_read_file(s->names_fd, name, NAME_FILE_MAX, &old) == 0 && old.size == strlen(body) &&
	    memcmp(old.data, body, old.size) == 0)
		return 0; /* a warm start writes nothing */
	r = fd_write_file(s->names_fd, name, body, strlen(body), 0600);
	if (r < 0)
		return fail(-r, "%s/names/%s cannot be written: %s", s->store_path, name, strerror(-r));
	return 0;
}

int names_remove(const struct store *s, const struct name_entry *e)
{
	char name[DIGEST_HEX_MAX + 1];

	file_name(e->reference, e->platform, name);
	if (unlinkat(s->names_fd, name, 0) < 0 && errno != ENOENT)
		return fail(errno, "%s/names/%s cannot be removed: %s", s->store_path, name, strerror(errno));
	return 0;
}

int names_check(const struct store *s, const char *file)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	char name[DIGEST_HEX_MAX + 1];
	struct name_entry e = {0};
	int r = fd_read_file(s->names_fd, file, NAME_FILE_MAX, &b);

	if (r < 0)
		return r == -EINVAL || r == -ELOOP || r == -EFBIG || r == -EIO ? -EBADMSG : r;
	r = parse_entry(&b, &e);
	if (r < 0)
		return -EBADMSG;
	file_name(e.reference, e.platform, name);
	return strcmp(name, file) == 0 ? 0 : -EBADMSG;
}

static int by_reference(const void *a, const void *b)
{
	const struct name_entry *x = a, *y = b;
	int r = strcmp(x->reference, y->reference);

	return r ? r : strcmp(x->platform, y->platform);
}

/* Passes over what is damaged. But what cannot be read just now is there: who took it for gone would remove what it needs. */
static int add_entry(const struct store *s, const char *file, struct name_entry **list, size_t *n)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	struct name_entry *more;
	int r = fd_read_file(s->names_fd, file, NAME_FILE_MAX, &b);

	if (r < 0)
		return r == -ENOENT || r == -EINVAL || r == -ELOOP || r == -EFBIG ? 0 : r;
	more = reallocarray(*list, *n + 1, sizeof(**list));
	if (!more)
		return -ENOMEM;
	*list = more;
	if (parse_entry(&b, &more[*n]) == 0)
		++*n;
	return 0;
}

int names_list(const struct store *s, struct name_entry **ret, size_t *ret_n)
{
	_cleanup_(fd_free_memory) struct name_entry *list = NULL;
	size_t n = 0;
	int r = 0, fd = openat(s->names_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *d;
	DIR *dir;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while (r == 0 && (errno = 0, d = readdir(dir)))
		if (d->d_name[0] != '.')
			r = add_entry(s, d->d_name, &list, &n);
	if (r == 0)
		r = -errno;
	closedir(dir);
	if (r < 0)
		return r;
	if (n)
		qsort(list, n, sizeof(*list), by_reference);
	*ret = TAKE(list);
	*ret_n = n;
	return 0;
}
