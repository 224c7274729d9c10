/* Lines of text. A line that a crash has cut counts for nothing. */
#include "cache/layer_blob.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/limits.h"

int layer_blob_text(const struct layer_blob *b, struct bytes *ret)
{
	char text[DIGEST_TEXT_MAX];

	return bytes_printf(ret, "%s %" PRIu64 "\n", digest_text(&b->digest, text), b->size);
}

static int get(const struct store *s, const char *layer_key, const char *name, struct layer_blob *ret)
{
	_cleanup_(fd_close) int dir_fd = beneath_cache_open(s->layers_fd, layer_key, O_RDONLY | O_DIRECTORY, 0);
	_cleanup_(bytes_free) struct bytes b = {0};
	const char *text;
	char *end;
	size_t n;
	int r;

	if (dir_fd < 0)
		return dir_fd;
	r = fd_read_file(dir_fd, name, DIGEST_TEXT_MAX + 32, &b);
	if (r < 0)
		return r;
	text = (const char *)b.data;
	n = strcspn(text, " ");
	if (text[n] != ' ' || text[n + 1] < '0' || text[n + 1] > '9' || digest_parse(text, n, &ret->digest) < 0)
		return -EBADMSG;
	ret->size = strtoull(text + n + 1, &end, 10);
	return *end == '\n' && ret->size <= LIMIT_BLOB_SIZE ? 0 : -EBADMSG;
}

int layer_blob_get(const struct store *s, const char *layer_key, struct layer_blob *ret)
{
	return get(s, layer_key, LAYER_BLOB_FILE, ret);
}

int layer_blob_get_windows(const struct store *s, const char *layer_key, struct layer_blob *ret)
{
	return get(s, layer_key, LAYER_BLOB_WINDOWS_FILE, ret);
}

#define BLOBS_MAX 64 /* packed otherwise; the newest are kept */

static int read_more(const struct store *s, const char *layer_key, int *ret_dir_fd, struct bytes *ret)
{
	int r;

	*ret_dir_fd = beneath_cache_open(s->layers_fd, layer_key, O_RDONLY | O_DIRECTORY, 0);
	if (*ret_dir_fd < 0)
		return *ret_dir_fd;
	r = fd_read_file(*ret_dir_fd, LAYER_BLOB_MORE_FILE, BLOBS_MAX * (DIGEST_TEXT_MAX + 1), ret);
	return r == -ENOENT ? 0 : r;
}

bool layer_blob_unpacks_to(const struct store *s, const char *layer_key, const struct digest *diff_id,
			   const struct digest *blob)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	_cleanup_(fd_close) int dir_fd = -1;
	char line[DIGEST_TEXT_MAX + 1];
	struct layer_blob first;

	if (digest_equal(blob, diff_id)) /* the tar itself */
		return true;
	if (layer_blob_get(s, layer_key, &first) == 0 && digest_equal(&first.digest, blob))
		return true;
	if (read_more(s, layer_key, &dir_fd, &b) < 0 || !b.data)
		return false;
	digest_text(blob, line);
	strcat(line, "\n");
	return strstr((const char *)b.data, line) != NULL;
}

int layer_blob_add(const struct store *s, const char *layer_key, const struct digest *blob)
{
	_cleanup_(bytes_free) struct bytes before = {0}, b = {0};
	_cleanup_(fd_close) int dir_fd = -1;
	char text[DIGEST_TEXT_MAX];
	const char *rest;
	int r = read_more(s, layer_key, &dir_fd, &before);

	if (r == 0)
		r = bytes_printf(&b, "%s\n", digest_text(blob, text));
	rest = before.data ? (const char *)before.data : "";
	for (size_t n = 1; r == 0 && n < BLOBS_MAX && strchr(rest, '\n'); n++) {
		size_t size = strcspn(rest, "\n") + 1;

		r = bytes_append(&b, rest, size);
		rest += size;
	}
	return r < 0 ? r : fd_write_file(dir_fd, LAYER_BLOB_MORE_FILE, b.data, b.size, 0600);
}
