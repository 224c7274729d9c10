/* Files are opened beneath the directory, without symlinks, by names made from checked digests. */
#include "fetch/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"

struct layout {
	char *name; /* "oci:/dir" */
	int dir_fd;
};

static int check_version(const struct layout *l)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	_cleanup_(bytes_free) struct bytes b = {0};
	const char *version;
	int r = fd_read_file(l->dir_fd, "oci-layout", 4096, &b);

	if (r == -ENOENT)
		return fail(EBADMSG, "%s: there is no file oci-layout: this is no OCI image layout",
			    l->name);
	if (r < 0)
		return fail(-r, "%s/oci-layout: %s", l->name, strerror(-r));
	if (json_field_parse(b.data, b.size, &o) < 0 ||
	    json_field_string(o, "imageLayoutVersion", &version) < 0)
		return fail(EBADMSG, "%s: its oci-layout file names no imageLayoutVersion",
			    l->name);
	if (strncmp(version, "1.", 2) != 0)
		return fail(EOPNOTSUPP, "%s: layout version %.32s; only 1.x is known", l->name,
			    version);
	return 0;
}

int layout_open(const char *path, struct layout **ret)
{
	_cleanup_(layout_free) struct layout *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->dir_fd = -1;
	if (asprintf(&l->name, "oci:%s", path) < 0) {
		l->name = NULL;
		return -ENOMEM;
	}
	l->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->dir_fd < 0)
		return fail(errno, "%s: %s", l->name, strerror(errno));
	r = check_version(l);
	if (r == 0)
		*ret = TAKE(l);
	return r;
}

void layout_free(struct layout **l)
{
	if (!*l)
		return;
	fd_close(&(*l)->dir_fd);
	free((*l)->name);
	free(*l);
	*l = NULL;
}

const char *layout_name(const struct layout *l)
{
	return l->name;
}

int layout_dir_fd(const struct layout *l)
{
	return l->dir_fd;
}

int layout_get_index(struct layout *l, struct json_object **ret)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	_cleanup_(bytes_free) struct bytes b = {0};
	struct json_object *manifests;
	size_t n;
	int r = fd_read_file(l->dir_fd, "index.json", LIMIT_MANIFEST_SIZE, &b);

	if (r < 0)
		return fail(-r, "%s/index.json: %s", l->name, strerror(-r));
	r = json_field_parse(b.data, b.size, &o);
	if (r == 0)
		r = json_field_array(o, "manifests", &manifests, &n);
	if (r < 0)
		return r == -ENOMEM ? r : fail(EBADMSG, "%s: its index.json is no image index", l->name);
	if (n > LIMIT_INDEX_ENTRIES)
		return fail(EFBIG, "%s: its index.json lists more than %u manifests", l->name, LIMIT_INDEX_ENTRIES);
	*ret = TAKE(o);
	return 0;
}

static int parse_entry(const struct json_object *o, struct layout_entry *ret)
{
	struct layout_entry e = {0};
	const char *text;
	int r = json_field_string(o, "digest", &text);

	if (r == 0)
		r = digest_parse(text, strlen(text), &e.digest);
	if (r == 0)
		r = json_field_u64(o, "size", &e.size);
	if (r == 0 && json_field_string(o, "mediaType", &text) == 0 &&
	    strlen(text) < sizeof(e.media_type))
		strcpy(e.media_type, text);
	if (r == 0)
		*ret = e;
	return r;
}

static bool has_tag(const struct json_object *o, const char *tag)
{
	struct json_object *annotations;
	const char *name;

	return json_field_object(o, "annotations", &annotations) == 0 &&
	       json_field_string(annotations, "org.opencontainers.image.ref.name", &name) == 0 &&
	       strcmp(name, tag) == 0;
}

int layout_parse_index(const void *data, size_t size, const char *name, const char *tag,
		       struct layout_entry *ret)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	struct json_object *manifests, *found = NULL;
	bool any = !tag || !*tag;
	size_t n;
	int r = json_field_parse(data, size, &o);

	if (r == 0)
		r = json_field_array(o, "manifests", &manifests, &n);
	if (r < 0)
		return r == -ENOMEM ? r
				    : fail(EBADMSG, "%s: its index.json is no image index", name);
	if (n > LIMIT_INDEX_ENTRIES)
		return fail(EFBIG, "%s: its index.json lists more than %u manifests", name,
			    LIMIT_INDEX_ENTRIES);
	if (any && n != 1)
		return fail(ENOENT, "%s: there are %zu images in it: say which: oci:DIR:TAG", name,
			    n);
	for (size_t i = 0; i < n && !found; i++)
		if (any || has_tag(json_object_array_get_idx(manifests, i), tag))
			found = json_object_array_get_idx(manifests, i);
	if (!found)
		return fail(ENOENT, "%s: no image in it has the tag %s", name, tag);
	r = parse_entry(found, ret);
	if (r < 0)
		return r == -EOPNOTSUPP
			       ? fail(EOPNOTSUPP, "%s: a digest algorithm that is not known", name)
			       : fail(EBADMSG, "%s: a broken descriptor in its index.json", name);
	return 0;
}

static int open_blob(const struct layout *l, const struct digest *digest, int *ret_fd,
		     uint64_t *ret_size)
{
	_cleanup_(fd_close) int fd = -1;
	char hex[DIGEST_HEX_MAX + 1], path[32 + DIGEST_HEX_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "blobs/%s/%s", digest_algorithm_name(digest),
		 digest_hex(digest, hex));
	fd = beneath_cache_open(l->dir_fd, path, O_RDONLY | O_NONBLOCK, 0);
	if (fd == -ENOENT)
		return fail(ENOENT, "%s: %s is not there: is the layout complete?", l->name, path);
	if (fd < 0 || fstat(fd, &st) < 0) {
		int err = fd < 0 ? -fd : errno;

		return fail(err, "%s/%s: %s", l->name, path, strerror(err));
	}
	if (!S_ISREG(st.st_mode))
		return fail(EBADMSG, "%s/%s is no file", l->name, path);
	*ret_size = (uint64_t)st.st_size;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* `size` UINT64_MAX: not known. */
static int read_blob(const struct layout *l, const struct digest *digest, uint64_t size, size_t max,
		     struct bytes *ret)
{
	_cleanup_(fd_close) int fd = -1;
	_cleanup_(bytes_free) struct bytes b = {0};
	_cleanup_(hash_free) struct hash *h = NULL;
	char text[DIGEST_TEXT_MAX];
	struct digest is;
	uint64_t there;
	int r = open_blob(l, digest, &fd, &there);

	if (r < 0)
		return r;
	digest_text(digest, text);
	if (size != UINT64_MAX && size != there)
		return fail(EBADMSG,
			    "%s: %s has %" PRIu64 " bytes, not the %" PRIu64 " of its descriptor",
			    l->name, text, there, size);
	if (there > max)
		return fail(EFBIG, "%s: %s has %" PRIu64 " bytes, more than the %zu allowed",
			    l->name, text, there, max);
	r = bytes_reserve(&b, (size_t)there + 1);
	if (r == 0)
		r = fd_pread_full(fd, b.data, (size_t)there, 0);
	if (r == 0)
		r = hash_new(digest->algorithm, &h);
	if (r < 0)
		return r == -ENOMEM ? r : fail(-r, "%s: %s: %s", l->name, text, strerror(-r));
	b.size = (size_t)there;
	hash_update(h, b.data, b.size);
	hash_finish(h, &is);
	if (!digest_equal(&is, digest))
		return fail(EBADMSG, "%s: %s does not match its digest: the file is damaged",
			    l->name, text);
	r = bytes_terminate(&b);
	if (r < 0)
		return r;
	*ret = b;
	b = (struct bytes){0};
	return 0;
}

int layout_get_manifest(struct layout *l, const char *tag, const struct digest *digest,
			struct bytes *ret, char ret_content_type[static 128],
			struct digest *ret_digest)
{
	_cleanup_(bytes_free) struct bytes index = {0};
	struct layout_entry e = {.size = UINT64_MAX};
	int r;

	if (digest) {
		e.digest = *digest;
	} else {
		r = fd_read_file(l->dir_fd, "index.json", LIMIT_MANIFEST_SIZE, &index);
		if (r < 0)
			return fail(-r, "%s/index.json: %s", l->name, strerror(-r));
		r = layout_parse_index(index.data, index.size, l->name, tag, &e);
		if (r < 0)
			return r;
	}
	r = read_blob(l, &e.digest, e.size, LIMIT_MANIFEST_SIZE, ret);
	if (r < 0)
		return r;
	memcpy(ret_content_type, e.media_type, sizeof(e.media_type));
	*ret_digest = e.digest;
	return 0;
}

int layout_get_blob(struct layout *l, const struct descriptor *d, size_t max, struct bytes *ret)
{
	return read_blob(l, &d->digest, d->size, max, ret);
}

int layout_open_blob(struct layout *l, const struct descriptor *d, int *ret_fd)
{
	_cleanup_(fd_close) int fd = -1;
	char text[DIGEST_TEXT_MAX];
	uint64_t there;
	int r = open_blob(l, &d->digest, &fd, &there);

	if (r < 0)
		return r;
	if (there != d->size)
		return fail(EBADMSG,
			    "%s: %s has %" PRIu64 " bytes, not the %" PRIu64 " of its descriptor",
			    l->name, digest_text(&d->digest, text), there, d->size);
	*ret_fd = TAKE_FD(fd);
	return 0;
}
