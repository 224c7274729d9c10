/* layout_put: writing into an OCI image layout directory.
 *
 * Ownership  Borrows everything for the call.
 * Units      Bytes.
 * Errors     Reported: -EBADMSG: the bytes have another digest, or index.json is broken; errno of the directory.
 * Threads    Any; index.json is written under a lock, so that writers lose nothing to each other.
 * Source     image-spec image-layout.md.
 */
#pragma once

#include <stdbool.h>

#include "cache/store.h"
#include "fetch/layout.h"
#include "fetch/transport.h"
#include "format/reference.h"

/* The user's layout may lie anywhere, and the fetcher writes in the store alone: it makes a layout of nothing there
 * (*ret is its reference), which a command then moves: layout_put_all() puts all blobs, manifests and tags of `from`
 * into `to`, both paths. */
int layout_put_stage(const struct store *s, struct reference *ret);
int layout_put_all(const char *from, const char *to);

/* Puts a blob there, checked, unless it is there already (*ret_written false). */
int layout_put_blob(struct layout *l, const struct digest *digest, const struct transport_upload *bytes,
		    bool *ret_written);

/* Puts a manifest there and into index.json: under `tag`, which others lose, or without one (NULL). */
int layout_put_manifest(struct layout *l, const char *tag, const char *media_type, const void *data, size_t size,
			const struct digest *digest);
