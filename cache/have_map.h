/* have_map: which pages of a layer file hold verified bytes; shared by server and fetcher.
 *
 * Ownership  have_map_open() hands over; have_map_free() ends it.
 * Units      Bytes of the layer file in calls, pages of 4096 inside.
 * Errors     -EBADMSG: another size or a foreign file. errno of the calls otherwise. All bare.
 * Threads    Any; bits are atomic. The epoch moves between clearing bits and punching.
 * Source     docs/design.md, "The cache"; a sparse mapping dies with SIGBUS on a full disk, so the
 *            file is allocated in full before it appears.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct have_map;

/* Makes the file with all bits set or all clear. */
int have_map_create(int dir_fd, const char *name, uint64_t layer_file_size, bool all);
int have_map_open(int dir_fd, const char *name, uint64_t layer_file_size, bool writable, struct have_map **ret);
void have_map_free(struct have_map **h);

bool have_map_test(const struct have_map *h, uint64_t off, uint64_t size);
void have_map_set(struct have_map *h, uint64_t off, uint64_t size);
void have_map_clear(struct have_map *h, uint64_t off, uint64_t size);
uint64_t have_map_file_size(const struct have_map *h);
uint64_t have_map_bytes(const struct have_map *h);
uint64_t have_map_epoch(const struct have_map *h);
void have_map_raise(struct have_map *h);
