/* layer_blob: which blob the packed offsets of a layer's span table count in, and which others unpack to the same layer.
 *
 * Ownership  -
 * Units      Bytes.
 * Errors     -ENOENT: the layer does not say; then its blob is the tar itself, whose digest is in its key.
 *            -EBADMSG: damaged. Others errno of the calls. All bare.
 * Threads    Any; the file appears by rename.
 * Source     <store>/layers/<key>/blob: the digest and the size, one line. <store>/layers/<key>/blobs: more digests,
 *            a line each.
 */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"
#include "base/digest.h"
#include "cache/store.h"

struct layer_blob {
	struct digest digest;
	uint64_t size;
};

int layer_blob_text(const struct layer_blob *b, struct bytes *ret);
#define LAYER_BLOB_FILE "blob"
#define LAYER_BLOB_MORE_FILE "blobs"
int layer_blob_get(const struct store *s, const char *layer_key, struct layer_blob *ret);

/* Whether this blob was seen to unpack to the layer `layer_key` of that diffID. That an image says so is not enough: it
 * could name the diffID of a layer that it does not have. */
bool layer_blob_unpacks_to(const struct store *s, const char *layer_key, const struct digest *diff_id,
			   const struct digest *blob);
int layer_blob_add(const struct store *s, const char *layer_key, const struct digest *blob);

/* The blob of the checkpoints' windows, when they are not here as the layer's file "windows" yet. */
#define LAYER_BLOB_WINDOWS "windows"
#define LAYER_BLOB_WINDOWS_FILE "windows_blob"
int layer_blob_get_windows(const struct store *s, const char *layer_key, struct layer_blob *ret);
