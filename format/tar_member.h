/* tar_member: what a header block and the extended headers before it say together.
 *
 * Ownership  tar_extras_free() ends struct tar_extras. A filled member points into the header and the
 *            extras.
 * Units      Bytes.
 * Errors     -EBADMSG, -EFBIG, -EOPNOTSUPP (a type nobody extracts). Reported with the member's name.
 * Threads    A plain value.
 * Source     POSIX.1-2017 pax: a member's own records count before global ones, these before the
 *            plain header. Types, bodies and GNU long names as Go's archive/tar has them.
 */
#pragma once

#include "format/pax.h"
#include "format/tar.h"
#include "format/tar_header.h"

struct tar_extras { /* what stands before a member's own header */
	struct pax global; /* stays for all members that follow */
	struct pax local;
	struct bytes long_path, long_link; /* GNU; NUL-terminated; empty: there was none */
	struct bytes xattrs;		   /* room for the member's array */
	bool pending;			   /* something but `global` waits for its member */
};

enum tar_sparse {
	TAR_SPARSE_NONE,
	TAR_SPARSE_LISTED,  /* extras.local.map is complete */
	TAR_SPARSE_GNU,	    /* the header block and those behind it hold the map */
	TAR_SPARSE_IN_BODY, /* the body begins with the map */
};

void tar_extras_free(struct tar_extras *x);

/* Forgets all but `global`. */
void tar_extras_clear(struct tar_extras *x);

/* Fills all but body_off and fragments. For TAR_SPARSE_GNU `size` is still to come. *ret_body_size is
 * what lies in the stream, 0 for types without a body. */
int tar_member_fill(const struct tar_header *h, struct tar_extras *x, struct tar_member *ret,
		    uint64_t *ret_body_size, enum tar_sparse *ret_sparse);
