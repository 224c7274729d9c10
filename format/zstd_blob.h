/* zstd_blob: a whole small blob as one zstd frame that says its plain size, the same bytes for the same input.
 *
 * Ownership  zstd_blob_pack() hands over bytes.
 * Units      Bytes.
 * Errors     -EBADMSG: not exactly one frame with a plain size, or corrupt. -EFBIG: more than `max`.
 *            -ENOMEM. All bare.
 * Threads    Any.
 * Source     RFC 8878. One step into a buffer of the plain size, so no window is allocated.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define ZSTD_BLOB_LEVEL 19 /* packed once, fetched at each start: seconds there for milliseconds here */

int zstd_blob_pack(const void *data, size_t size, struct bytes *ret);

/* Of several frames one behind the other, the size of the first; of what is none, all of it. */
size_t zstd_blob_first(const void *data, size_t size);

/* How many plain bytes zstd_blob_unpack() will write. */
int zstd_blob_size(const void *data, size_t size, uint64_t max, size_t *ret);

/* `plain_size` from zstd_blob_size(). */
int zstd_blob_unpack(const void *data, size_t size, void *plain, size_t plain_size);
