/* Written by rename, synced, and checked as a whole when it is read.
 *
 * Byte layout, little-endian:
 *     8  magic "lrsynce1"
 *    32  sha256 of everything behind this field
 *    32  sha256 of index.erofs
 *    32  sha256 of spans
 *     8  number of pages
 *     8  each word
 */
#include "cache/have_synced.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/bytes.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "cache/have_map.h"

#define NAME "have.synced"
#define MAGIC "lrsynce1"
#define PAGES_MAX (LIMIT_LAYER_FILE_SIZE / 4096)

struct head {
	char magic[8];
	uint8_t check[32], index[32], spans[32];
	uint64_t n_pages;
} __attribute__((packed));
static_assert(sizeof(struct head) == 112, "head of have.synced");

#define CHECKED_FROM offsetof(struct head, index)

int have_synced_new(uint64_t n_pages, struct have_synced **ret)
{
	struct have_synced *h;

	if (n_pages > PAGES_MAX)
		return -EBADMSG;
	h = calloc(1, sizeof(*h) + have_map_n_words(n_pages) * sizeof(uint64_t));
	if (!h)
		return -ENOMEM;
	h->n_pages = n_pages;
	h->index.algorithm = h->spans.algorithm = DIGEST_SHA256;
	*ret = h;
	return 0;
}

void have_synced_free(struct have_synced **h)
{
	free(*h);
	*h = NULL;
}

int have_synced_parse(const void *data, size_t size, struct have_synced **ret)
{
	_cleanup_(have_synced_free) struct have_synced *h = NULL;
	const uint8_t *at = data;
	struct digest check;
	struct head head;
	int r;

	if (size < sizeof(head))
		return -EBADMSG;
	memcpy(&head, at, sizeof(head));
	hash_bytes(at + CHECKED_FROM, size - CHECKED_FROM, &check);
	if (memcmp(head.magic, MAGIC, sizeof(head.magic)) != 0 || memcmp(head.check, check.bytes, 32) != 0)
		return -EBADMSG;
	if (le64toh(head.n_pages) > PAGES_MAX ||
	    size - sizeof(head) != have_map_n_words(le64toh(head.n_pages)) * sizeof(uint64_t))
		return -EBADMSG;
	r = have_synced_new(le64toh(head.n_pages), &h);
	if (r < 0)
		return r;
	memcpy(h->index.bytes, head.index, 32);
	memcpy(h->spans.bytes, head.spans, 32);
	for (size_t i = 0; i < have_map_n_words(h->n_pages); i++) {
		uint64_t word;

		memcpy(&word, at + sizeof(head) + i * sizeof(word), sizeof(word));
		h->words[i] = le64toh(word);
	}
	*ret = TAKE(h);
	return 0;
}

int have_synced_read(int dir_fd, struct have_synced **ret)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	int r = fd_read_file(dir_fd, NAME, sizeof(struct head) + PAGES_MAX / 8 + 8, &b);

	if (r < 0)
		return r == -EFBIG || r == -EINVAL || r == -ELOOP ? -EBADMSG : r;
	return have_synced_parse(b.data, b.size, ret);
}

int have_synced_write(int dir_fd, const struct have_synced *h)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	struct head head = {.magic = MAGIC, .n_pages = htole64(h->n_pages)};
	struct digest check;
	int r;

	memcpy(head.index, h->index.bytes, 32);
	memcpy(head.spans, h->spans.bytes, 32);
	r = bytes_append(&b, &head, sizeof(head));
	for (size_t i = 0; r == 0 && i < have_map_n_words(h->n_pages); i++) {
		uint64_t word = htole64(h->words[i]);

		r = bytes_append(&b, &word, sizeof(word));
	}
	if (r < 0)
		return r;
	hash_bytes(b.data + CHECKED_FROM, b.size - CHECKED_FROM, &check);
	memcpy(b.data + offsetof(struct head, check), check.bytes, 32);
	return fd_write_file_synced(dir_fd, NAME, b.data, b.size, 0600);
}

int have_synced_remove(int dir_fd)
{
	if (unlinkat(dir_fd, NAME, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	return fsync(dir_fd) < 0 ? -errno : 0;
}

int have_synced_digest(int dir_fd, const char *name, struct digest *ret)
{
	_cleanup_(fd_close) int fd = beneath_cache_open(dir_fd, name, O_RDONLY, 0);

	return fd < 0 ? fd : hash_file(fd, DIGEST_SHA256, ret);
}
