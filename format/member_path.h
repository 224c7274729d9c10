/* member_path: the path of a layer's member, checked once, then walked component by component.
 *
 * "./a//b/", "/a/b" and "a/b" are the same path; "", "." and "/" are the root (no components).
 *
 * Ownership  Points into the text that was checked, which must outlive it. A plain value.
 * Units      Sizes count bytes without a NUL.
 * Errors     -EBADMSG: "..". -EFBIG: the path, a component or the depth passes limits.h. Reported.
 * Threads    A plain value.
 * Source     image-spec layer.md. A whiteout of a 255-byte name is a component of 259 bytes, so a
 *            last component that begins with ".wh." may be 4 bytes longer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct member_path {
	const char *text; /* as written */
	const char *at;	  /* where the walk stands */
	size_t n_components;
};

struct member_name { /* never empty, ".", or ".."; no '/' and no NUL inside */
	const char *name; /* not NUL-terminated */
	size_t size;
	bool last;
};

/* Checks the whole of `text` (NUL-terminated) and puts the walk at its start. */
int member_path_check(const char *text, struct member_path *ret);

/* The next component; false at the end. Walk a copy of the struct to start over. */
bool member_path_next(struct member_path *p, struct member_name *ret);
