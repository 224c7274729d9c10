/* blob_store: small blobs (manifests, configs) kept by digest, checked each time they are read.
 *
 * Ownership  blob_store_get() hands over bytes.
 * Units      -
 * Errors     -ENOENT: not there, or it was damaged and is gone now (bare). Others reported.
 * Threads    Any.
 * Source     docs/design.md, "The cache".
 */
#pragma once

#include <stddef.h>

#include "base/bytes.h"
#include "base/digest.h"
#include "cache/store.h"

int blob_store_get(const struct store *s, const struct digest *d, size_t max, struct bytes *ret);

/* The caller has checked that `data` has this digest. */
int blob_store_put(const struct store *s, const struct digest *d, const void *data, size_t size);
