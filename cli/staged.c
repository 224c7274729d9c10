/* Put, then removed; what a killed command leaves is removed by gc. */
#include "cli/staged.h"

#include <string.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "fetch/layout_put.h"

int staged_move(const struct store *s, struct json_object *answer, const char *to)
{
	const char *staged, *name;
	int r;

	if (json_field_string(answer, "staged", &staged) < 0)
		return 0;
	r = layout_put_all(staged, to);
	name = strrchr(staged, '/');
	if (name)
		fd_remove_tree(s->tmp_fd, name + 1);
	return r;
}
