/* have_map: which pages of a layer file hold verified bytes; shared by server and fetcher.
 *
 * Ownership  have_map_open() hands over; have_map_free() ends it.
 * Units      Bytes of the layer file in calls, pages of 4096 inside.
 * Errors     -EBADMSG: another size or a foreign file. errno of the calls otherwise. All bare.
 * Threads    Any; bits are atomic. The epoch moves between clearing bits and punching.
 * Source     docs/design.md, "The cache"; a sparse mapping dies with SIGBUS on a full disk, so the
 *            file is allocated in full before it appears.
 *
 * The words are the bits, 64 pages each, the lowest bit first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct have_map;

/* Makes the file with all bits set or all clear. */
int have_map_create(int dir_fd, const char *name, uint64_t layer_file_size, bool all);
/* The same from words, as many as the pages need: for have.synced (cache/have_synced.h). */
int have_map_create_words(int dir_fd, const char *name, uint64_t n_pages, const uint64_t *words);
int have_map_open(int dir_fd, const char *name, uint64_t layer_file_size, bool writable, struct have_map **ret);
void have_map_free(struct have_map **h);

bool have_map_test(const struct have_map *h, uint64_t off, uint64_t size);
void have_map_set(struct have_map *h, uint64_t off, uint64_t size);
void have_map_clear(struct have_map *h, uint64_t off, uint64_t size);

/* Copies the words as they are now. `words` has room for have_map_n_words(have_map_n_pages()). */
void have_map_copy(const struct have_map *h, uint64_t *words);
uint64_t have_map_n_pages(const struct have_map *h);
size_t have_map_n_words(uint64_t n_pages);
/* Clears the bits of a range in copied words. */
void have_map_clear_words(uint64_t *words, uint64_t off, uint64_t size);

uint64_t have_map_file_size(const struct have_map *h);
uint64_t have_map_bytes(const struct have_map *h);
uint64_t have_map_epoch(const struct have_map *h);
void have_map_raise(struct have_map *h);
