/* One line of text. */
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
