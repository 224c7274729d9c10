/* Files are written in <store>/tmp and renamed as one directory. */
#include "cache/layer_new.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "cache/have_map.h"
#include "cache/layer_store.h"

struct layer_new {
	const struct store *store;
	char name[40]; /* in tmp/; "" once committed */
	int dir_fd, data_fd;
	void *index;
	size_t index_size;
};

static int said(const struct layer_new *n, int r)
{
	return fail(-r, "the store %s cannot be written: %s%s", n->store->store_path, strerror(-r),
		    r == -ENOSPC || r == -EDQUOT ?
			    "; free some space (lazyrun rmi IMAGE), or use --store DIR on another file system" :
			    "");
}

int layer_new_open(const struct store *s, struct layer_new **ret)
{
	_cleanup_(layer_new_free) struct layer_new *n = calloc(1, sizeof(*n));
	uint64_t salt;

	if (!n)
		return -ENOMEM;
	n->store = s;
	n->dir_fd = n->data_fd = -1;
	if (getrandom(&salt, sizeof(salt), 0) != sizeof(salt))
		return -EIO;
	snprintf(n->name, sizeof(n->name), "layer-%016llx", (unsigned long long)salt);
	n->dir_fd = fd_open_dir(s->tmp_fd, n->name, true);
	if (n->dir_fd < 0)
		return said(n, n->dir_fd);
	n->data_fd = openat(n->dir_fd, "data", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (n->data_fd < 0)
		return said(n, -errno);
	*ret = TAKE(n);
	return 0;
}

void layer_new_free(struct layer_new **layer)
{
	struct layer_new *n = *layer;

	if (!n)
		return;
	if (n->index)
		munmap(n->index, n->index_size);
	fd_close(&n->data_fd);
	fd_close(&n->dir_fd);
	if (n->name[0])
		fd_remove_tree(n->store->tmp_fd, n->name);
	free(n);
	*layer = NULL;
}

int layer_new_write(struct layer_new *n, const void *data, size_t size, uint64_t off)
{
	int r = fd_pwrite_full(n->data_fd, data, size, off);

	return r < 0 ? said(n, r) : 0;
}

int layer_new_read(struct layer_new *n, void *data, size_t size, uint64_t off)
{
	return fd_pread_full(n->data_fd, data, size, off);
}

int layer_new_copy(struct layer_new *n, const struct layer_copy *copy)
{
	off_t from = (off_t)copy->from_off, to = (off_t)copy->to_off;
	uint64_t left = copy->size;

	while (left > 0) {
		ssize_t done = copy_file_range(n->data_fd, &from, n->data_fd, &to, left, 0);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return said(n, done < 0 ? -errno : -EIO);
		left -= (uint64_t)done;
	}
	return 0;
}

int layer_new_index(struct layer_new *n, uint64_t size, void **ret)
{
	_cleanup_(fd_close) int fd = openat(n->dir_fd, "index.erofs", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return said(n, -errno);
	r = posix_fallocate(fd, 0, (off_t)size); /* else a full disk is a SIGBUS */
	if (r != 0)
		return said(n, -r);
	n->index = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (n->index == MAP_FAILED) {
		n->index = NULL;
		return said(n, -errno);
	}
	n->index_size = size;
	*ret = n->index;
	return 0;
}

/* The layer is in the store already, perhaps with pages missing: ours are the same bytes. */
static int merge(struct layer_new *n, struct layer_store *there)
{
	_cleanup_(fd_free_memory) uint8_t *piece = malloc(SPAN_SIZE);
	uint64_t size = layer_store_size(there);
	int r = 0;

	if (!piece)
		return -ENOMEM;
	for (uint64_t off = 0; r == 0 && off < size; off += SPAN_SIZE) {
		size_t left = size - off < SPAN_SIZE ? (size_t)(size - off) : SPAN_SIZE;

		if (layer_store_present(there, off, left))
			continue;
		r = fd_pread_full(n->data_fd, piece, left, off);
		if (r == 0)
			r = layer_store_put(there, piece, left, off);
	}
	return r < 0 ? said(n, r) : 0;
}

/* `whole`: ours has all pages, so a layer that is there already is completed from it. */
static int place(struct layer_new *n, const char *layer_key, bool whole)
{
	_cleanup_(layer_store_free) struct layer_store *there = NULL;
	int r;

	if (renameat(n->store->tmp_fd, n->name, n->store->layers_fd, layer_key) == 0) {
		n->name[0] = '\0';
		return 0;
	}
	if (errno != EEXIST && errno != ENOTEMPTY)
		return said(n, -errno);
	if (layer_store_open(n->store, layer_key, true, &there) == 0)
		return whole ? merge(n, there) : 0;
	r = fd_remove_tree(n->store->layers_fd, layer_key); /* it is damaged */
	if (r == 0 && renameat(n->store->tmp_fd, n->name, n->store->layers_fd, layer_key) < 0)
		r = -errno;
	if (r < 0)
		return said(n, r);
	n->name[0] = '\0';
	return 0;
}

int layer_new_file(struct layer_new *n, const char *name, const void *data, size_t size)
{
	int r = fd_write_file(n->dir_fd, name, data, size, 0600);

	return r < 0 ? said(n, r) : 0;
}

/* Nothing is here yet but what no span fills: that is zeros. */
static int create_empty_have(struct layer_new *n, uint64_t layer_file_size, const struct bytes *spans)
{
	uint64_t n_pages = layer_file_size / LAYER_PAGE + (layer_file_size % LAYER_PAGE != 0);
	_cleanup_(fd_free_memory) uint64_t *words = malloc((have_map_n_words(n_pages) + 1) * sizeof(*words));
	_cleanup_(span_table_free) struct span_table *t = NULL;
	int r = words ? span_table_load(spans->data, spans->size, layer_file_size, &t) : -ENOMEM;

	if (r < 0)
		return r;
	memset(words, 0xff, have_map_n_words(n_pages) * sizeof(*words));
	if (n_pages % 64)
		words[n_pages / 64] = (UINT64_C(1) << (n_pages % 64)) - 1;
	for (size_t i = 0; i < span_table_count(t); i++) {
		struct span s;

		span_table_get(t, i, &s);
		have_map_clear_words(words, s.off, s.size);
	}
	return have_map_create_words(n->dir_fd, "have", n_pages, words);
}

static int commit(struct layer_new *n, const char *layer_key, uint64_t layer_file_size, const struct bytes *spans,
		  bool whole)
{
	int r = 0;

	if (ftruncate(n->data_fd, (off_t)layer_file_size) < 0)
		r = -errno;
	if (r == 0)
		r = fd_write_file(n->dir_fd, "spans", spans->data, spans->size, 0600);
	if (r == 0)
		r = whole ? have_map_create(n->dir_fd, "have", layer_file_size, true) :
			    create_empty_have(n, layer_file_size, spans);
	if (r < 0)
		return said(n, r);
	return place(n, layer_key, whole);
}

int layer_new_commit(struct layer_new *n, const char *layer_key, uint64_t layer_file_size,
		     const struct bytes *spans)
{
	return commit(n, layer_key, layer_file_size, spans, true);
}

int layer_new_commit_empty(struct layer_new *n, const char *layer_key, uint64_t layer_file_size,
			   const struct bytes *spans)
{
	return commit(n, layer_key, layer_file_size, spans, false);
}
