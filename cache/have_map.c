/* A head, then one bit a page in 64-bit words. */
#include "cache/have_map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/fd.h"

#define PAGE 4096u
#define HAVE_MAGIC UINT64_C(0x316576614879617a) /* "zayHave1" */

struct have_file {
	uint64_t magic;
	uint64_t n_pages;
	_Atomic uint64_t epoch;
	uint64_t reserved[5];
	_Atomic uint64_t words[];
};

struct have_map {
	struct have_file *file;
	size_t map_size;
	uint64_t n_pages;
	uint64_t layer_file_size;
};

static uint64_t pages_of(uint64_t size)
{
	return size / PAGE + (size % PAGE != 0);
}

size_t have_map_n_words(uint64_t n_pages)
{
	return (size_t)((n_pages + 63) / 64);
}

static size_t file_size_of(uint64_t n_pages)
{
	return sizeof(struct have_file) + have_map_n_words(n_pages) * sizeof(uint64_t);
}

static int make_file(uint64_t n_pages, struct have_file **ret, size_t *ret_size)
{
	struct have_file *f;

	*ret_size = file_size_of(n_pages);
	f = calloc(1, *ret_size);
	if (!f)
		return -ENOMEM;
	f->magic = HAVE_MAGIC;
	f->n_pages = n_pages;
	*ret = f;
	return 0;
}

int have_map_create(int dir_fd, const char *name, uint64_t layer_file_size, bool all)
{
	_cleanup_(fd_free_memory) struct have_file *f = NULL;
	size_t size;
	int r = make_file(pages_of(layer_file_size), &f, &size);

	if (r < 0)
		return r;
	for (uint64_t i = 0; all && i < f->n_pages; i++)
		f->words[i / 64] |= UINT64_C(1) << (i % 64);
	return fd_write_file(dir_fd, name, f, size, 0600);
}

int have_map_create_words(int dir_fd, const char *name, uint64_t n_pages, const uint64_t *words)
{
	_cleanup_(fd_free_memory) struct have_file *f = NULL;
	size_t size;
	int r = make_file(n_pages, &f, &size);

	if (r < 0)
		return r;
	for (size_t i = 0; i < have_map_n_words(n_pages); i++)
		f->words[i] = words[i];
	return fd_write_file(dir_fd, name, f, size, 0600);
}

int have_map_open(int dir_fd, const char *name, uint64_t layer_file_size, bool writable, struct have_map **ret)
{
	_cleanup_(fd_close) int fd = beneath_cache_open(dir_fd, name, writable ? O_RDWR : O_RDONLY, 0);
	_cleanup_(have_map_free) struct have_map *h = calloc(1, sizeof(*h));
	struct stat st;
	void *at;

	if (!h)
		return -ENOMEM;
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	h->layer_file_size = layer_file_size;
	h->n_pages = pages_of(layer_file_size);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != file_size_of(h->n_pages))
		return -EBADMSG;
	at = mmap(NULL, (size_t)st.st_size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	h->file = at;
	h->map_size = (size_t)st.st_size;
	if (h->file->magic != HAVE_MAGIC || h->file->n_pages != h->n_pages)
		return -EBADMSG;
	*ret = TAKE(h);
	return 0;
}

void have_map_free(struct have_map **have)
{
	struct have_map *h = *have;

	if (!h)
		return;
	if (h->file)
		munmap(h->file, h->map_size);
	free(h);
	*have = NULL;
}

/* The bits of word `w` that lie in pages [first, last]. */
static uint64_t mask(uint64_t w, uint64_t first, uint64_t last)
{
	uint64_t m = ~UINT64_C(0);

	if (w == first / 64)
		m &= ~UINT64_C(0) << (first % 64);
	if (w == last / 64)
		m &= ~UINT64_C(0) >> (63 - last % 64);
	return m;
}

bool have_map_test(const struct have_map *h, uint64_t off, uint64_t size)
{
	uint64_t first = off / PAGE, last = size ? (off + size - 1) / PAGE : first;

	if (size == 0)
		return true;
	for (uint64_t w = first / 64; w <= last / 64; w++) {
		uint64_t m = mask(w, first, last);

		if ((atomic_load_explicit(&h->file->words[w], memory_order_acquire) & m) != m)
			return false;
	}
	return true;
}

void have_map_set(struct have_map *h, uint64_t off, uint64_t size)
{
	uint64_t first = off / PAGE, last = size ? (off + size - 1) / PAGE : first;

	for (uint64_t w = first / 64; size && w <= last / 64; w++)
		atomic_fetch_or_explicit(&h->file->words[w], mask(w, first, last), memory_order_release);
}

void have_map_clear(struct have_map *h, uint64_t off, uint64_t size)
{
	uint64_t first = off / PAGE, last = size ? (off + size - 1) / PAGE : first;

	for (uint64_t w = first / 64; size && w <= last / 64; w++)
		atomic_fetch_and(&h->file->words[w], ~mask(w, first, last));
}

void have_map_copy(const struct have_map *h, uint64_t *words)
{
	for (size_t i = 0; i < have_map_n_words(h->n_pages); i++)
		words[i] = atomic_load(&h->file->words[i]);
}

uint64_t have_map_n_pages(const struct have_map *h)
{
	return h->n_pages;
}

void have_map_clear_words(uint64_t *words, uint64_t off, uint64_t size)
{
	uint64_t first = off / PAGE, last = size ? (off + size - 1) / PAGE : first;

	for (uint64_t w = first / 64; size && w <= last / 64; w++)
		words[w] &= ~mask(w, first, last);
}

uint64_t have_map_file_size(const struct have_map *h)
{
	return h->map_size;
}

uint64_t have_map_bytes(const struct have_map *h)
{
	uint64_t pages = 0, bytes;

	for (uint64_t w = 0; w < (h->n_pages + 63) / 64; w++)
		pages += (uint64_t)__builtin_popcountll(atomic_load(&h->file->words[w]));
	bytes = pages * PAGE;
	return bytes > h->layer_file_size ? h->layer_file_size : bytes;
}

uint64_t have_map_epoch(const struct have_map *h)
{
	return atomic_load(&h->file->epoch);
}

void have_map_raise(struct have_map *h)
{
	atomic_fetch_add(&h->file->epoch, 1);
}
