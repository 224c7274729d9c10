/* A layer's four files, mapped; the have-map's bits stand for verified bytes. */
#include "cache/layer_store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "cache/have_map.h"
#include "cache/have_synced.h"
#include "cache/layer_blob.h"
#include "cache/span_map.h"

struct layer_store {
	atomic_uint references;
	char key[LAYER_KEY_SIZE];
	int dir_fd, data_fd;
	uint64_t size;
	void *index_map, *spans_map, *links_map; /* the last one may be NULL */
	size_t index_map_size, spans_map_size, links_map_size;
	struct have_map *have;
	struct erofs_read index;
	struct span_table *spans;
	struct link_table *links; /* the same */
	struct span_map *span_map;  /* only of a foreign table, and only for who fills it */
	pthread_rwlock_t fill_lock; /* fillers share it, the evictor has it alone */
	pthread_mutex_t sync_lock;  /* with a flock on dir_fd: whoever reads and writes have.synced */
};

static int map_file(int dir_fd, const char *name, uint64_t max, void **ret, size_t *ret_size)
{
	_cleanup_(fd_close) int fd = beneath_cache_open(dir_fd, name, O_RDONLY, 0);
	struct stat st;
	void *at;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || (uint64_t)st.st_size > max)
		return -EBADMSG;
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	*ret = at;
	*ret_size = (size_t)st.st_size;
	return 0;
}

static int open_data(struct layer_store *l, int dir_fd, bool writable)
{
	struct stat st;

	l->data_fd = beneath_cache_open(dir_fd, "data", writable ? O_RDWR : O_RDONLY, 0);
	if (l->data_fd < 0)
		return l->data_fd;
	if (fstat(l->data_fd, &st) < 0)
		return -errno;
	l->size = l->index.layer_file_size;
	return (uint64_t)st.st_size == l->size ? 0 : -EBADMSG;
}

/* It only helps: without it, or with a damaged one, more round trips are made. */
static void open_links(struct layer_store *l, int dir_fd)
{
	if (map_file(dir_fd, LAYER_STORE_LINKS_FILE, LIMIT_LAYER_INDEX_SIZE, &l->links_map, &l->links_map_size) == 0)
		(void)link_table_load(l->links_map, l->links_map_size, &l->links);
}

static int open_files(struct layer_store *l, int dir_fd, bool writable)
{
	int r = map_file(dir_fd, "index.erofs", LIMIT_LAYER_INDEX_SIZE, &l->index_map, &l->index_map_size);

	if (r == 0)
		r = erofs_read_open(l->index_map, l->index_map_size, &l->index);
	if (r == 0)
		r = open_data(l, dir_fd, writable);
	if (r == 0)
		r = map_file(dir_fd, "spans", LIMIT_LAYER_INDEX_SIZE, &l->spans_map, &l->spans_map_size);
	if (r == 0)
		r = span_table_load(l->spans_map, l->spans_map_size, l->size, &l->spans);
	if (r == 0)
		r = have_map_open(dir_fd, "have", l->size, writable, &l->have);
	if (r == 0 && writable && span_table_is_foreign(l->spans))
		r = span_map_new(l->spans, l->have, &l->span_map);
	if (r == 0 && writable)
		open_links(l, dir_fd);
	return r;
}

static bool has_mark(const struct store *s, const char *layer_key, const char *mark)
{
	char path[LAYER_KEY_SIZE + 8];

	snprintf(path, sizeof(path), "%s/%s", layer_key, mark);
	return faccessat(s->layers_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool layer_store_is_bad(const struct store *s, const char *layer_key)
{
	return has_mark(s, layer_key, "bad");
}

bool layer_store_is_lie(const struct store *s, const char *layer_key)
{
	return has_mark(s, layer_key, "lie");
}

int layer_store_mark_lie(const struct store *s, const char *layer_key)
{
	_cleanup_(fd_close) int dir_fd = beneath_cache_open(s->layers_fd, layer_key, O_RDONLY | O_DIRECTORY, 0);

	return dir_fd < 0 ? dir_fd : fd_write_file(dir_fd, "lie", "", 0, 0600);
}

static int mark_bad(int dir_fd, const char *layer_key)
{
	fd_write_file(dir_fd, "bad", "", 0, 0600);
	return fail(EBADMSG, "layer %s in the store is damaged and will be fetched anew", layer_key);
}

int layer_store_mark_bad(const struct store *s, const char *layer_key)
{
	_cleanup_(fd_close) int dir_fd = beneath_cache_open(s->layers_fd, layer_key, O_RDONLY | O_DIRECTORY, 0);

	return mark_bad(dir_fd, layer_key);
}

int layer_store_open(const struct store *s, const char *layer_key, bool writable, struct layer_store **ret)
{
	_cleanup_(layer_store_free) struct layer_store *l = calloc(1, sizeof(*l));
	_cleanup_(fd_close) int dir_fd = -1;
	int r;

	if (!l)
		return -ENOMEM;
	l->references = 1;
	l->dir_fd = l->data_fd = -1;
	pthread_rwlock_init(&l->fill_lock, NULL);
	pthread_mutex_init(&l->sync_lock, NULL);
	assert(strlen(layer_key) < sizeof(l->key) && !strchr(layer_key, '/'));
	strcpy(l->key, layer_key);
	dir_fd = beneath_cache_open(s->layers_fd, layer_key, O_RDONLY | O_DIRECTORY, 0);
	if (dir_fd < 0)
		return dir_fd;
	if (layer_store_is_bad(s, layer_key))
		return -ENOENT; /* said when it was marked; streaming makes it anew */
	r = open_files(l, dir_fd, writable);
	if (r == -EBADMSG || r == -ENOENT || r == -EFBIG)
		return mark_bad(dir_fd, layer_key);
	if (r < 0)
		return fail(-r, "layer %s in the store cannot be opened: %s", layer_key, strerror(-r));
	if (writable)
		l->dir_fd = TAKE_FD(dir_fd);
	*ret = TAKE(l);
	return 0;
}

struct layer_store *layer_store_again(struct layer_store *l)
{
	atomic_fetch_add(&l->references, 1);
	return l;
}

void layer_store_free(struct layer_store **layer)
{
	struct layer_store *l = *layer;

	*layer = NULL;
	if (!l || atomic_fetch_sub(&l->references, 1) != 1)
		return;
	span_map_free(&l->span_map);
	span_table_free(&l->spans);
	link_table_free(&l->links);
	have_map_free(&l->have);
	if (l->index_map)
		munmap(l->index_map, l->index_map_size);
	if (l->spans_map)
		munmap(l->spans_map, l->spans_map_size);
	if (l->links_map)
		munmap(l->links_map, l->links_map_size);
	fd_close(&l->data_fd);
	fd_close(&l->dir_fd);
	pthread_rwlock_destroy(&l->fill_lock);
	pthread_mutex_destroy(&l->sync_lock);
	free(l);
}

bool layer_store_is_whole(const struct store *s, const struct layer_store *l)
{
	_cleanup_(fd_close) int dir_fd = beneath_cache_open(s->layers_fd, l->key, O_RDONLY | O_DIRECTORY, 0);
	const struct {
		const char *name;
		uint64_t size;
	} files[] = {{"index.erofs", l->index_map_size},
		     {"spans", l->spans_map_size},
		     {"have", have_map_file_size(l->have)},
		     {"data", l->size}};
	struct stat st;

	for (size_t i = 0; dir_fd >= 0 && i < sizeof(files) / sizeof(files[0]); i++) {
		if (fstatat(dir_fd, files[i].name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		    (uint64_t)st.st_size == files[i].size)
			continue;
		mark_bad(dir_fd, l->key);
		return false;
	}
	return dir_fd >= 0;
}

const char *layer_store_key(const struct layer_store *l)
{
	return l->key;
}

const struct erofs_read *layer_store_index(const struct layer_store *l)
{
	return &l->index;
}

const struct span_table *layer_store_spans(const struct layer_store *l)
{
	return l->spans;
}

const struct link_table *layer_store_links(const struct layer_store *l)
{
	return l->links;
}

uint64_t layer_store_size(const struct layer_store *l)
{
	return l->size;
}

int layer_store_read(const struct layer_store *l, void *data, size_t size, uint64_t off)
{
	if (size > l->size || off > l->size - size)
		return -EBADMSG;
	for (;;) {
		uint64_t epoch = have_map_epoch(l->have);
		int r;

		if (!have_map_test(l->have, off, size))
			return -EAGAIN;
		r = fd_pread_full(l->data_fd, data, size, off);
		if (r < 0)
			return r;
		atomic_thread_fence(memory_order_seq_cst);
		if (have_map_epoch(l->have) == epoch)
			return 0;
	}
}

bool layer_store_present(const struct layer_store *l, uint64_t off, uint64_t size)
{
	if (size > l->size || off > l->size - size)
		return false;
	return have_map_test(l->have, off, size);
}

uint64_t layer_store_bytes_present(const struct layer_store *l)
{
	return have_map_bytes(l->have);
}

int layer_store_put(struct layer_store *l, const void *data, uint64_t size, uint64_t off)
{
	int r;

	assert(off % LAYER_PAGE == 0 && (size % LAYER_PAGE == 0 || off + size == l->size));
	pthread_rwlock_rdlock(&l->fill_lock);
	r = fd_pwrite_full(l->data_fd, data, size, off);
	if (r == 0)
		have_map_set(l->have, off, size);
	pthread_rwlock_unlock(&l->fill_lock);
	return r;
}

/* Not the pages that are complete: nobody writes to what readers may read. */
static int write_missing_pages(struct layer_store *l, const uint8_t *data, uint64_t off, uint64_t size)
{
	uint64_t end = off + size;
	int r = 0;

	for (uint64_t at = off, to; r == 0 && at < end; at = to) {
		bool there = have_map_test(l->have, at, 1);

		for (to = at; to < end && have_map_test(l->have, to, 1) == there;)
			to = end - to < LAYER_PAGE - to % LAYER_PAGE ? end : to + LAYER_PAGE - to % LAYER_PAGE;
		if (!there)
			r = fd_pwrite_full(l->data_fd, data + (at - off), to - at, at);
	}
	return r;
}

/* Of two spans that share a page, the one that is in last sees the other. */
static void set_complete_pages(struct layer_store *l, uint64_t off, uint64_t size)
{
	uint64_t first = off - off % LAYER_PAGE, last = off + size - 1 - (off + size - 1) % LAYER_PAGE;

	if (last > first + LAYER_PAGE)
		have_map_set(l->have, first + LAYER_PAGE, last - first - LAYER_PAGE);
	if (span_map_covers(l->span_map, first, LAYER_PAGE))
		have_map_set(l->have, first, 1);
	if (span_map_covers(l->span_map, last, LAYER_PAGE))
		have_map_set(l->have, last, 1);
}

int layer_store_put_span(struct layer_store *l, size_t span, const void *data)
{
	struct span s;
	int r;

	span_table_get(l->spans, span, &s);
	if (!l->span_map)
		return layer_store_put(l, data, s.size, s.off);
	pthread_rwlock_rdlock(&l->fill_lock);
	r = write_missing_pages(l, data, s.off, s.size);
	if (r == 0) {
		span_map_set(l->span_map, span);
		set_complete_pages(l, s.off, s.size);
	}
	pthread_rwlock_unlock(&l->fill_lock);
	return r;
}

bool layer_store_has_span(const struct layer_store *l, size_t span)
{
	struct span s;

	if (l->span_map)
		return span_map_has(l->span_map, span);
	span_table_get(l->spans, span, &s);
	return layer_store_present(l, s.off, s.size);
}

/* Between processes too: a fetcher whose supervisor was killed may still be at it when the next one begins. */
static void lock_synced(struct layer_store *l)
{
	pthread_mutex_lock(&l->sync_lock);
	while (flock(l->dir_fd, LOCK_EX) < 0 && errno == EINTR)
		;
}

static void unlock_synced(struct layer_store *l)
{
	flock(l->dir_fd, LOCK_UN);
	pthread_mutex_unlock(&l->sync_lock);
}

/* have.synced must not vouch for what is punched, whenever the machine crashes. On a full disk it goes. */
static int stop_vouching(struct layer_store *l, const struct layer_range *ranges, size_t n)
{
	_cleanup_(have_synced_free) struct have_synced *h = NULL;
	int r = have_synced_read(l->dir_fd, &h);

	if (r == -ENOENT)
		return 0;
	if (r == 0 && h->n_pages != have_map_n_pages(l->have))
		r = -EBADMSG;
	for (size_t i = 0; r == 0 && i < n; i++)
		have_map_clear_words(h->words, ranges[i].off, ranges[i].size);
	if (r == 0)
		r = have_synced_write(l->dir_fd, h);
	return r < 0 ? have_synced_remove(l->dir_fd) : 0;
}

/* Clear, raise, punch: a reader that took its epoch before the raise sees it move; one that took it
 * after finds the bits clear. */
static int punch(struct layer_store *l, uint64_t off, uint64_t size)
{
	int r = 0;

	pthread_rwlock_wrlock(&l->fill_lock);
	have_map_clear(l->have, off, size);
	if (l->span_map)
		span_map_clear(l->span_map, off, size);
	have_map_raise(l->have);
	if (fallocate(l->data_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)size) < 0)
		r = -errno;
	pthread_rwlock_unlock(&l->fill_lock);
	return r;
}

/* Whole pages; small ranges that touch become one: each is a call, and fillers wait for it. */
static size_t round_ranges(const struct layer_store *l, const struct layer_range *ranges, size_t n,
			   struct layer_range *ret)
{
	size_t n_ret = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t off = ranges[i].off - ranges[i].off % LAYER_PAGE, end = ranges[i].off + ranges[i].size;
		struct layer_range *before = n_ret ? &ret[n_ret - 1] : NULL;

		end += (LAYER_PAGE - end % LAYER_PAGE) % LAYER_PAGE;
		end = end < l->size ? end : l->size;
		if (before && off >= before->off && off <= before->off + before->size && end - before->off <= SPAN_SIZE) {
			if (end > before->off + before->size)
				before->size = end - before->off;
		} else if (off < end) {
			ret[n_ret++] = (struct layer_range){off, end - off};
		}
	}
	return n_ret;
}

int layer_store_punch(struct layer_store *l, const struct layer_range *ranges, size_t n)
{
	_cleanup_(fd_free_memory) struct layer_range *rounded = calloc(n + 1, sizeof(*rounded));
	size_t n_rounded;
	int r;

	if (!rounded)
		return -ENOMEM;
	n_rounded = round_ranges(l, ranges, n, rounded);
	lock_synced(l);
	r = stop_vouching(l, rounded, n_rounded);
	for (size_t i = 0; r == 0 && i < n_rounded; i++)
		r = punch(l, rounded[i].off, rounded[i].size);
	unlock_synced(l);
	return r;
}

static int sync_file(int dir_fd, const char *name)
{
	_cleanup_(fd_close) int fd = beneath_cache_open(dir_fd, name, O_RDONLY, 0);

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	return fsync(fd) < 0 ? -errno : 0;
}

static int sync_files(const struct store *s, struct layer_store *l)
{
	static const char *const small[] = {"index.erofs", "spans", "sources", LAYER_BLOB_FILE, LAYER_BLOB_MORE_FILE, LAYER_BLOB_WINDOWS,
					    LAYER_BLOB_WINDOWS_FILE, LAYER_STORE_LINKS_FILE};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(small) / sizeof(small[0]); i++)
		r = sync_file(l->dir_fd, small[i]);
	if (r == 0 && (fsync(l->data_fd) < 0 || fsync(l->dir_fd) < 0 || fsync(s->layers_fd) < 0))
		r = -errno;
	return r;
}

static int sync_locked(const struct store *s, struct layer_store *l)
{
	_cleanup_(have_synced_free) struct have_synced *before = NULL, *now = NULL;
	uint64_t n_pages = have_map_n_pages(l->have);
	int r = have_synced_new(n_pages, &now);

	if (r < 0)
		return r;
	have_map_copy(l->have, now->words); /* before the sync: bits go up after their bytes */
	if (have_synced_read(l->dir_fd, &before) == 0 && before->n_pages == n_pages) {
		if (memcmp(before->words, now->words, have_map_n_words(n_pages) * sizeof(uint64_t)) == 0)
			return 0;
		now->index = before->index;
		now->spans = before->spans;
	} else {
		r = have_synced_digest(l->dir_fd, "index.erofs", &now->index);
		if (r == 0)
			r = have_synced_digest(l->dir_fd, "spans", &now->spans);
	}
	if (r == 0)
		r = sync_files(s, l);
	if (r == 0)
		r = have_synced_write(l->dir_fd, now);
	return r < 0 ? r : 1;
}

int layer_store_sync(const struct store *s, struct layer_store *l)
{
	int r;

	lock_synced(l);
	r = sync_locked(s, l);
	unlock_synced(l);
	return r;
}
