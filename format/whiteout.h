/* whiteout: what a member's path says about files of the layers below.
 *
 * Ownership  Points into the member path's text.
 * Units      Bytes.
 * Errors     -EBADMSG: a whiteout that names nothing (".wh.", ".wh..", ".wh...", or ".wh.NAME" used
 *            as a directory). Reported.
 * Threads    A plain value.
 * Source     image-spec layer.md "Whiteouts"; aufs' own files ".wh..wh.*" (plnk, orph, aufs) are no
 *            part of the tree, as docker has it.
 */
#pragma once

#include <stddef.h>

#include "format/member_path.h"

enum whiteout_kind {
	WHITEOUT_NONE,	 /* an ordinary member */
	WHITEOUT_NAME,	 /* hides `name` of the layers below in the parent directory */
	WHITEOUT_OPAQUE, /* hides all that the layers below hold in the parent directory */
	WHITEOUT_IGNORE, /* aufs metadata: skip the member */
};

struct whiteout {
	enum whiteout_kind kind;
	const char *name; /* WHITEOUT_NAME: what is hidden, at most LIMIT_NAME_SIZE; not NUL-terminated */
	size_t name_size;
};

/* The member's type does not matter: the name alone makes a whiteout. For WHITEOUT_NAME and
 * WHITEOUT_OPAQUE every component but the last is an ordinary name, the parent directory. */
int whiteout_classify(const struct member_path *path, struct whiteout *ret);
