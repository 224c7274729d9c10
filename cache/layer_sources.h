/* layer_sources: from where the bytes of an uncompressed layer can be fetched again, by range.
 *
 * Ownership  layer_sources_get() hands over an array freed with layer_sources_free().
 * Units      -
 * Errors     A layer without a way back has no sources: 0 and *ret_n == 0. Others bare.
 * Threads    One writer (the fetcher).
 * Source     <store>/layers/<key>/sources: one reference a line, newest first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cache/store.h"

#define LAYER_SOURCES_MAX 8u

/* `name`: "host/repository" or "oci:/dir". */
int layer_sources_add(const struct store *s, const char *layer_key, const char *name);
int layer_sources_get(const struct store *s, const char *layer_key, char **ret_names[], size_t *ret_n);
void layer_sources_free(char **names[]);
