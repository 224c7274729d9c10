/* Walks a member's path: checked as a whole before the first component is handed out. */
#include "format/member_path.h"

#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "base/report.h"

#define WHITEOUT_EXTRA 4u /* ".wh." */

static const char *skip_nothing(const char *at)
{
	for (;;) {
		if (at[0] == '/')
			at++;
		else if (at[0] == '.' && (at[1] == '/' || !at[1]))
			at++;
		else
			return at;
	}
}

bool member_path_next(struct member_path *p, struct member_name *ret)
{
	const char *name = skip_nothing(p->at);

	if (!*name) {
		p->at = name;
		return false;
	}
	p->at = strchrnul(name, '/');
	ret->name = name;
	ret->size = (size_t)(p->at - name);
	p->at = skip_nothing(p->at);
	ret->last = !*p->at;
	return true;
}

int member_path_check(const char *text, struct member_path *ret)
{
	struct member_path walk = {text, text, 0};
	struct member_name name;
	size_t extra = 0;

	while (member_path_next(&walk, &name)) {
		if (name.size == 2 && !memcmp(name.name, "..", 2))
			return fail(EBADMSG, "member %.200s: its path climbs with \"..\"", text);
		extra = name.last && !strncmp(name.name, ".wh.", 4) ? WHITEOUT_EXTRA : 0;
		if (name.size > LIMIT_NAME_SIZE + extra)
			return fail(EFBIG, "member %.200s: a name of %zu bytes, allowed are %u",
				    text, name.size, LIMIT_NAME_SIZE);
		if (++walk.n_components > LIMIT_DEPTH)
			return fail(EFBIG, "member %.200s: more than %u directories deep", text,
				    LIMIT_DEPTH);
	}
	/* `at` stands at the NUL. */
	if ((size_t)(walk.at - text) > LIMIT_PATH_SIZE + extra)
		return fail(EFBIG, "member %.200s: a path of %zu bytes, allowed are %u", text,
			    (size_t)(walk.at - text), LIMIT_PATH_SIZE);
	*ret = (struct member_path){text, text, walk.n_components};
	return 0;
}
