/* source_table: one source for each repository and set of credentials; a newer `access` replaces.
 *
 * Ownership  source_table_new() hands over; a source it gave out lives as long as the process.
 * Units      -
 * Errors     As source_open().
 * Threads    Any.
 * Source     -
 */
#pragma once

#include <stddef.h>

#include <json-c/json_object.h>

#include "fetch/source.h"

struct source_table;

int source_table_new(struct transport *t, struct source_table **ret);

/* `access` NULL: whatever is known of this repository, else anonymous. */
int source_table_get(struct source_table *t, const struct reference *ref, struct json_object *access,
		     struct source **ret);

/* "host/repository" or "oci:/dir", as reference_parse() takes it again. */
void source_table_name(const struct reference *ref, char *out, size_t size);
