/* number_table: the numbers of layers and images, shared by supervisor, server and fetcher.
 *
 * Made before the fork, mapped shared, append only: a number means the same for as long as the
 * supervisor lives. The fetcher writes, the server reads. An entry is complete before its count is
 * raised (release / acquire), so a writer killed in the middle leaves nothing half-visible.
 *
 * The server trusts nothing that it reads here, since the fetcher parses what strangers wrote: numbers, keys and lists
 * lie inside the table, whatever they are.
 *
 * Beside them it holds when the parts of the layers' files were last read or filled, as far as the server is asked
 * (what the kernel has in its cache it does not ask for): roughly, by a hash of fixed size.
 *
 * Ownership  number_table_create() maps it; children inherit the mapping at the same address. The
 *            descriptor is the caller's.
 * Units      Numbers start at 1.
 * Errors     -ENOSPC: full (reported: restart the server).
 * Threads    One writing thread; any number of readers.
 * Source     docs/design.md, "Same answer on every machine".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYER_KEY_SIZE 80 /* "tar-<64 hex>" and NUL, with room */
#define IMAGE_KEY_SIZE 65 /* 64 hex and NUL */

struct number_table;

int number_table_create(int *ret_fd, struct number_table **ret);
/* The same table in another program: serve --replace. It is laid out alike where the size is the same. */
int number_table_again(int fd, struct number_table **ret);
size_t number_table_size(void);

/* Finds or appends. A removed entry is never found again: it gets a new number. */
int number_table_add_layer(struct number_table *t, const char *layer_key, uint32_t *ret_number);
int number_table_add_image(struct number_table *t, const char *image_key, const uint32_t *layers,
			   size_t n_layers, uint32_t *ret_number);
void number_table_remove_layer(struct number_table *t, uint32_t number);
void number_table_remove_image(struct number_table *t, uint32_t number);

/* -ENOENT: no such number or name, or removed. Texts live as long as the table. */
int number_table_layer(const struct number_table *t, uint32_t number, const char **ret_key);
int number_table_image(const struct number_table *t, uint32_t number, const char **ret_key,
		       const uint32_t **ret_layers, size_t *ret_n_layers);
/* The key of any number that was ever given out, removed or not; NULL: none was. */
const char *number_table_image_key(const struct number_table *t, uint32_t number);
int number_table_find_image(const struct number_table *t, const char *image_key, uint32_t *ret_number);
int number_table_find_layer(const struct number_table *t, const char *layer_key, uint32_t *ret_number);

/* For readdir and status: numbers run from 1 to these. */
uint32_t number_table_n_layers(const struct number_table *t);
uint32_t number_table_n_images(const struct number_table *t);

/* The part of a layer file around `off` is in use now. Any process and thread. */
void number_table_touch(const struct number_table *t, uint32_t layer_number, uint64_t off);
/* When it was, in seconds of CLOCK_MONOTONIC; 0: not since the table was made. */
uint32_t number_table_touched(const struct number_table *t, uint32_t layer_number, uint64_t off);
