/* gc: removes from the store what no image, container, mount or request needs.
 *
 * Ownership  Objects stay the caller's.
 * Units      Bytes of the disk.
 * Errors     Reported. -EBUSY: images are being fetched.
 * Threads    Any; takes the context's locks.
 * Source     base/message.h, "gc".
 */
#pragma once

#include <json-c/json_object.h>

#include "fetch/context.h"

/* `dry`: only says what it would remove. Fills in the answer. */
int gc_run(struct context *c, bool dry, struct json_object *answer);
