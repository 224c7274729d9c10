/* registry_host: which loopback registries were found to speak plain http, for the whole process.
 *
 * Ownership  Nothing is handed over; names are copied.
 * Units      -
 * Errors     None.
 * Threads    Any.
 * Source     -
 */
#pragma once

#include <stdbool.h>

/* false: forgets what was believed. */
void registry_host_set_plain(const char *authority, bool plain);
bool registry_host_is_plain(const char *authority);
