/* id_map: which owners can be shown in the server's user namespace.
 *
 * An id without a number there would make the file unusable for everybody (EOVERFLOW), so it shows
 * as 0.
 *
 * Ownership  Plain value.
 * Units      -
 * Errors     A map that cannot be read shows every id as it is.
 * Threads    Never changes after load.
 * Source     user_namespaces(7).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define ID_MAP_RANGES 340 /* user_namespaces(7) */

struct id_map {
	size_t n;
	struct id_range {
		uint32_t first, last;
	} ranges[ID_MAP_RANGES];
};

/* `path` is /proc/self/uid_map or /proc/self/gid_map. */
void id_map_load(const char *path, struct id_map *ret);
uint32_t id_map_show(const struct id_map *m, uint32_t id);
