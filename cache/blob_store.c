/* One file a blob, named by its hex digits; it appears by rename. */
#include "cache/blob_store.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/report.h"

int blob_store_get(const struct store *s, const struct digest *d, size_t max, struct bytes *ret)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	_cleanup_(hash_free) struct hash *h = NULL;
	char name[DIGEST_HEX_MAX + 1];
	struct digest got;
	int r;

	r = fd_read_file(s->blobs_fd, digest_hex(d, name), max, &b);
	if (r == -ENOENT)
		return r;
	if (r < 0)
		return fail(-r, "%s/blobs/sha256/%s: %s", s->store_path, name, strerror(-r));
	r = hash_new(d->algorithm, &h);
	if (r < 0)
		return r;
	hash_update(h, b.data, b.size);
	hash_finish(h, &got);
	if (!digest_equal(&got, d)) {
		unlinkat(s->blobs_fd, name, 0); /* a torn write of a crash; it is fetched again */
		return -ENOENT;
	}
	*ret = b;
	b = (struct bytes){0};
	return 0;
}

int blob_store_put(const struct store *s, const struct digest *d, const void *data, size_t size)
{
	char name[DIGEST_HEX_MAX + 1];
	int r = fd_write_file(s->blobs_fd, digest_hex(d, name), data, size, 0600);

	if (r < 0)
		return fail(-r, "%s/blobs/sha256/%s cannot be written: %s%s", s->store_path, name, strerror(-r),
			    r == -ENOSPC ? "; free some space, or use --store DIR on another file system" : "");
	return 0;
}
