/* holds: the mounts that commands made and left ("lazyrun mount"): each keeps the server and its image.
 *
 * Ownership  holds_new() hands over; it lives as long as the process. Texts are copied.
 * Units      -
 * Errors     -ENOMEM, bare.
 * Threads    Any; one lock of its own.
 * Source     base/message.h, "hold": the supervisor remembers the packets, a new fetcher gets them again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <json-c/json_object.h>

struct holds;

int holds_new(struct holds **ret);

/* `image_key` "" when it is not known. */
int holds_set(struct holds *h, const char *name, const char *image_key, bool on);

/* The i-th one, newest first; false: there are not so many. */
bool holds_get(struct holds *h, size_t i, char *ret_key, size_t key_size, char *ret_name, size_t name_size);
bool holds_any(struct holds *h);

/* An array of all names. */
struct json_object *holds_list(struct holds *h);
