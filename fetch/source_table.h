/* source_table: one source for each repository and "access" that commands gave for it.
 *
 * None replaces another: a command with a wrong password, or without the --plain-http that a registry needs, must not
 * take from running containers what their bytes come back with.
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

/* `access` NULL: what was given last for this repository, else anonymous. */
int source_table_get(struct source_table *t, const struct reference *ref, struct json_object *access,
		     struct source **ret);

/* All that are known of this repository, at most SOURCE_TABLE_ALL, the one that worked last first; 0: none. */
#define SOURCE_TABLE_ALL 8
size_t source_table_all(struct source_table *t, const struct reference *ref, struct source *ret[static SOURCE_TABLE_ALL]);

/* "host/repository" or "oci:/dir", as reference_parse() takes it again. */
void source_table_name(const struct reference *ref, char *out, size_t size);
