/* json_field: typed access to parsed JSON, for documents that an attacker wrote.
 *
 * Ownership  json_field_parse() hands over an object; json_field_free() ends it. Strings and
 *            children point into it and die with it.
 * Units      -
 * Errors     -EBADMSG: not JSON, nested deeper than LIMIT_JSON_DEPTH, or a field of another type.
 *            -EFBIG: more than LIMIT_JSON_VALUES values. -ENOENT: the field is absent or null. All
 *            bare: the caller names the document.
 * Threads    A parsed document is only read.
 * Source     json-c.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <json-c/json_object.h>

/* Strict: one value, nothing behind it but white space, no comments, valid UTF-8. */
int json_field_parse(const void *data, size_t size, struct json_object **ret);
void json_field_free(struct json_object **o);

/* *ret is a string without NUL bytes inside. */
int json_field_string(const struct json_object *o, const char *key, const char **ret);
int json_field_u64(const struct json_object *o, const char *key, uint64_t *ret);
int json_field_bool(const struct json_object *o, const char *key, int *ret);
int json_field_object(const struct json_object *o, const char *key, struct json_object **ret);

/* An array, its length in *ret_n. Elements: json_object_array_get_idx(). */
int json_field_array(const struct json_object *o, const char *key, struct json_object **ret, size_t *ret_n);
