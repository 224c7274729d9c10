/* Tells whiteouts and opaque marks from ordinary members by their names. */
#include "format/whiteout.h"

#include <errno.h>
#include <string.h>

#include "base/report.h"

static bool begins(const struct member_name *n, const char *prefix)
{
	size_t size = strlen(prefix);

	return n->size >= size && !memcmp(n->name, prefix, size);
}

static bool equals(const struct member_name *n, const char *text)
{
	return n->size == strlen(text) && begins(n, text);
}

int whiteout_classify(const struct member_path *path, struct whiteout *ret)
{
	struct member_path walk = *path;
	struct whiteout w = {WHITEOUT_NONE, NULL, 0};
	struct member_name n;

	walk.at = walk.text;
	while (member_path_next(&walk, &n)) {
		if (!begins(&n, ".wh."))
			continue;
		if (n.last && equals(&n, ".wh..wh..opq")) {
			w.kind = WHITEOUT_OPAQUE;
			break;
		}
		if (begins(&n, ".wh..wh.")) {
			w.kind = WHITEOUT_IGNORE;
			break;
		}
		if (!n.last || equals(&n, ".wh.") || equals(&n, ".wh..") || equals(&n, ".wh..."))
			return fail(EBADMSG, "member %.200s: a whiteout that names no file",
				    path->text);
		w = (struct whiteout){WHITEOUT_NAME, n.name + 4, n.size - 4};
	}
	*ret = w;
	return 0;
}
