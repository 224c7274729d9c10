/* Writing into a layout: a blob appears by rename once its digest is right, and is named by index.json last. */
#include "fetch/layout_put.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"

#define BLOCK_SIZE (64u << 10)
#define REF_NAME "org.opencontainers.image.ref.name"

static int failed(const struct layout *l, const char *what, int err)
{
	return fail(err, "%s: %s: %s", layout_name(l), what, strerror(err));
}

static int copy(int fd, const struct digest *digest, const struct transport_upload *bytes)
{
	_cleanup_(fd_free_memory) char *block = malloc(BLOCK_SIZE);
	_cleanup_(hash_free) struct hash *h = NULL;
	struct digest is;
	int r = block ? hash_new(digest->algorithm, &h) : -ENOMEM;

	for (uint64_t at = 0; r == 0 && at < bytes->size;) {
		size_t n = bytes->size - at < BLOCK_SIZE ? (size_t)(bytes->size - at) : BLOCK_SIZE;

		if (bytes->data)
			memcpy(block, (const char *)bytes->data + bytes->off + at, n);
		else
			r = fd_pread_full(bytes->fd, block, n, bytes->off + at);
		if (r == 0)
			r = fd_write_full(fd, block, n);
		hash_update(h, block, n);
		at += n;
	}
	if (r < 0)
		return r;
	hash_finish(h, &is);
	return digest_equal(&is, digest) ? 0 : -EBADMSG;
}

int layout_put_blob(struct layout *l, const struct digest *digest, const struct transport_upload *bytes,
		    bool *ret_written)
{
	_cleanup_(fd_close) int blobs_fd = fd_open_dir(layout_dir_fd(l), "blobs", true);
	_cleanup_(fd_close) int dir_fd = -1;
	_cleanup_(fd_close) int fd = -1;
	char hex[DIGEST_HEX_MAX + 1], temporary[64];
	struct stat st;
	int r;

	if (blobs_fd < 0)
		return failed(l, "blobs", -blobs_fd);
	dir_fd = fd_open_dir(blobs_fd, digest_algorithm_name(digest), true);
	if (dir_fd < 0)
		return failed(l, "blobs", -dir_fd);
	digest_hex(digest, hex);
	*ret_written = false;
	if (fstatat(dir_fd, hex, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size == bytes->size)
		return 0;
	snprintf(temporary, sizeof(temporary), ".put-%d-%.16s", (int)gettid(), hex);
	fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return failed(l, "a new blob", errno);
	r = copy(fd, digest, bytes);
	if (r == 0 && renameat(dir_fd, temporary, dir_fd, hex) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dir_fd, temporary, 0);
		return r == -EBADMSG ? fail(EBADMSG, "%s: what is to be sha256:%.64s has another digest",
					    layout_name(l), hex) :
				       failed(l, "a new blob", -r);
	}
	*ret_written = true;
	return 0;
}

/* The tag's name moves; the same manifest without a tag stands there once. */
static bool must_go(const struct json_object *entry, const char *tag, const char *digest)
{
	struct json_object *annotations;
	const char *name = NULL, *its;

	if (json_field_object(entry, "annotations", &annotations) == 0)
		json_field_string(annotations, REF_NAME, &name);
	if (tag)
		return name && strcmp(name, tag) == 0;
	return !name && json_field_string(entry, "digest", &its) == 0 && strcmp(its, digest) == 0;
}

static void add_entry(struct json_object *index, const char *tag, const char *media_type, size_t size,
		      const char *digest)
{
	struct json_object *entry = json_object_new_object(), *annotations, *manifests = NULL;

	json_object_object_get_ex(index, "manifests", &manifests);
	for (size_t i = json_object_array_length(manifests); i > 0; i--)
		if (must_go(json_object_array_get_idx(manifests, i - 1), tag, digest))
			json_object_array_del_idx(manifests, i - 1, 1);
	json_object_object_add(entry, "mediaType", json_object_new_string(media_type));
	json_object_object_add(entry, "digest", json_object_new_string(digest));
	json_object_object_add(entry, "size", json_object_new_int64((int64_t)size));
	if (tag) {
		annotations = json_object_new_object();
		json_object_object_add(annotations, REF_NAME, json_object_new_string(tag));
		json_object_object_add(entry, "annotations", annotations);
	}
	json_object_array_add(manifests, entry);
}

int layout_put_manifest(struct layout *l, const char *tag, const char *media_type, const void *data, size_t size,
			const struct digest *digest)
{
	struct transport_upload bytes = {.data = data, .fd = -1, .size = size};
	_cleanup_(json_field_free) struct json_object *index = NULL;
	_cleanup_(fd_close) int lock = -1; /* others of ours that write the index, too */
	char hex[DIGEST_TEXT_MAX];
	const char *text;
	bool written;
	int r = layout_put_blob(l, digest, &bytes, &written);

	if (r < 0)
		return r;
	lock = openat(layout_dir_fd(l), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return failed(l, "its lock", errno);
	r = layout_get_index(l, &index);
	if (r < 0)
		return r;
	add_entry(index, tag, media_type, size, digest_text(digest, hex));
	text = json_object_to_json_string_ext(index, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	if (!text)
		return -ENOMEM;
	r = fd_write_file(layout_dir_fd(l), "index.json", text, strlen(text), 0644);
	return r < 0 ? failed(l, "index.json", -r) : 0;
}

int layout_put_stage(const struct store *s, struct reference *ret)
{
	static const char version[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
	static const char index[] = "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\","
				    "\"manifests\":[]}";
	_cleanup_(fd_close) int dir_fd = -1;
	int r;

	*ret = (struct reference){.kind = REFERENCE_LAYOUT};
	if (snprintf(ret->path, sizeof(ret->path), "%s/tmp/layout-XXXXXX", s->store_path) >= (int)sizeof(ret->path))
		return fail(ENAMETOOLONG, "%s: the store's path is too long", s->store_path);
	if (!mkdtemp(ret->path))
		return fail(errno, "%s: %s", ret->path, strerror(errno));
	dir_fd = open(ret->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = dir_fd < 0 ? -errno : fd_write_file(dir_fd, "index.json", index, strlen(index), 0644);
	if (r == 0)
		r = fd_write_file(dir_fd, "oci-layout", version, strlen(version), 0644);
	return r < 0 ? fail(-r, "%s: %s", ret->path, strerror(-r)) : 0;
}

static int put_named(struct layout *to, int blobs_fd, const char *name)
{
	_cleanup_(fd_close) int fd = openat(blobs_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char text[8 + DIGEST_HEX_MAX];
	struct digest digest;
	bool written;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (snprintf(text, sizeof(text), "sha256:%s", name) >= (int)sizeof(text) ||
	    digest_parse(text, strlen(text), &digest) < 0)
		return 0; /* left over by a writer that died */
	return layout_put_blob(to, &digest, &(struct transport_upload){.fd = fd, .size = (uint64_t)st.st_size}, &written);
}

static int put_blobs(struct layout *from, struct layout *to)
{
	int fd = openat(layout_dir_fd(from), "blobs/sha256", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir) {
		r = -errno;
		fd_close(&fd);
		return r;
	}
	while (r == 0 && (d = readdir(dir)))
		r = d->d_name[0] == '.' ? 0 : put_named(to, fd, d->d_name);
	closedir(dir);
	return r;
}

static int put_manifests(struct layout *from, struct layout *to)
{
	_cleanup_(json_field_free) struct json_object *index = NULL;
	struct json_object *manifests;
	size_t n = 0;
	int r = layout_get_index(from, &index);

	if (r == 0)
		r = json_field_array(index, "manifests", &manifests, &n);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct json_object *entry = json_object_array_get_idx(manifests, i);
		_cleanup_(bytes_free) struct bytes b = {0};
		const char *text, *type, *tag = NULL;
		struct json_object *annotations;
		char content_type[128];
		struct digest digest, is;

		r = json_field_string(entry, "digest", &text);
		if (r == 0)
			r = json_field_string(entry, "mediaType", &type);
		if (r == 0)
			r = digest_parse(text, strlen(text), &digest);
		if (json_field_object(entry, "annotations", &annotations) == 0)
			json_field_string(annotations, REF_NAME, &tag);
		if (r == 0)
			r = layout_get_manifest(from, NULL, &digest, &b, content_type, &is);
		if (r == 0)
			r = layout_put_manifest(to, tag, type, b.data, b.size, &digest);
	}
	return r;
}

int layout_put_all(const char *from, const char *to)
{
	_cleanup_(layout_free) struct layout *source = NULL, *target = NULL;
	int r = layout_open(from, &source);

	if (r == 0)
		r = layout_open(to, &target);
	if (r == 0)
		r = put_blobs(source, target);
	if (r == 0)
		r = put_manifests(source, target);
	return r < 0 && !report_any() ? fail(-r, "%s: %s", to, strerror(-r)) : r;
}
