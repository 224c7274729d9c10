/* Lines of "inside outside count"; only the first and the last number matter here. */
#include "fs/id_map.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"

#define FILE_MAX (64u << 10)

void id_map_load(const char *path, struct id_map *ret)
{
	_cleanup_(bytes_free) struct bytes file = {0};
	char *line, *save = NULL;

	ret->n = 0;
	if (fd_read_file(AT_FDCWD, path, FILE_MAX, &file) == 0)
		for (line = strtok_r((char *)file.data, "\n", &save); line && ret->n < ID_MAP_RANGES;
		     line = strtok_r(NULL, "\n", &save)) {
			unsigned inside, count;

			if (sscanf(line, "%u %*u %u", &inside, &count) == 2 && count > 0)
				ret->ranges[ret->n++] = (struct id_range){inside, inside + (count - 1)};
		}
	if (ret->n == 0)
		ret->ranges[ret->n++] = (struct id_range){0, UINT32_MAX};
}

uint32_t id_map_show(const struct id_map *m, uint32_t id)
{
	for (size_t i = 0; i < m->n; i++)
		if (id >= m->ranges[i].first && id <= m->ranges[i].last)
			return id;
	return 0;
}
