/* reference: names of images as docker has them, and "oci:DIR[:tag]" layouts.
 *
 * Ownership  A plain value.
 * Units      -
 * Errors     -EINVAL (reported, with what is wrong and what to write instead).
 * Threads    A plain value.
 * Source     distribution/reference grammar; distribution-spec "Pulling manifests"; limits.h.
 */
#pragma once

#include "base/digest.h"
#include "base/limits.h"

enum reference_kind {
	REFERENCE_REGISTRY,
	REFERENCE_LAYOUT, /* an OCI image layout directory on this host */
};

struct reference {
	enum reference_kind kind;
	char host[LIMIT_REPOSITORY_SIZE + 1];	    /* "docker.io", "localhost:5000", "[::1]:5000" */
	char repository[LIMIT_REPOSITORY_SIZE + 1]; /* "library/debian" */
	char path[LIMIT_PATH_SIZE + 1];		    /* of a layout: absolute, links not followed */
	char tag[129];				    /* "" when there is none (digest only, layouts) */
	struct digest digest;			    /* DIGEST_NONE when there is none */
};

/* "debian" is docker.io/library/debian:latest; a first component with '.', ':' or "localhost" is a
 * host, and comes back in lower case. A leading "docker://" is accepted. The directory of a layout
 * ends at its first ':' (as skopeo has it); a relative one begins at the working directory. */
int reference_parse(const char *text, struct reference *ret);

/* The canonical full text ("docker.io/library/debian:latest", "h/r:t@sha256:...", "oci:/abs/dir:tag"). */
const char *reference_text(const struct reference *ref, char out[static LIMIT_PATH_SIZE + 512]);
