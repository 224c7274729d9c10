/* keep: what the store keeps of images: listing, evicting, removing.
 *
 * Ownership  Objects are handed over to the caller.
 * Units      Bytes.
 * Errors     Reported. -EBUSY: a container uses the image.
 * Threads    Any thread; evicting and removing take the context's locks.
 * Source     docs/design.md, "The cache".
 */
#pragma once

#include <json-c/json_object.h>

#include "fetch/context.h"
#include "format/reference.h"

/* The "images" array of base/message.h. */
int keep_list(struct context *c, struct json_object **ret);

/* Fills in the answer to "evict" and "remove". `again`: a fetcher that died may have removed it: then it may be missing. */
int keep_evict(struct context *c, const struct reference *ref, struct json_object *answer);
int keep_remove(struct context *c, const struct reference *ref, bool again, struct json_object *answer);

/* Takes a layer away that nobody needs. 1: it was there; *freed grows by its bytes. The store_lock is held. */
int keep_remove_layer(struct context *c, const char *key, uint64_t *freed);

/* A layer that an artifact described becomes the tar layer that it was found to be. -EBUSY: somebody uses it. */
int keep_make_tar(struct context *c, const char *key, const char *tar_key);
