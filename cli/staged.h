/* staged: moves what the fetcher has made in the store into the layout that the user named.
 *
 * Ownership  -
 * Units      -
 * Errors     Reported.
 * Threads    Any.
 * Source     fetch/layout_put.h
 */
#pragma once

#include <json-c/json_object.h>

#include "cache/store.h"

/* `answer` names it as "staged"; without that there is nothing to do. `to` is the layout's path. */
int staged_move(const struct store *s, struct json_object *answer, const char *to);
