/* artifacts: which artifact of ours, or SOCI index, an image was last found to have, by repository and manifest.
 *
 * Ownership  -
 * Units      -
 * Errors     -ENOENT: none is known, or the file is damaged (bare). Others reported.
 * Threads    Any; a file appears by rename.
 * Source     <store>/artifacts/<sha256 of kind and both>: the digest of the artifact's manifest, which is in the blob store.
 */
#pragma once

#include "base/digest.h"
#include "cache/store.h"

enum artifacts_kind {
	ARTIFACTS_LAZY, /* ours */
	ARTIFACTS_SOCI,
};

/* `repository`: "host/repository" or "oci:/dir". */
int artifacts_get(const struct store *s, enum artifacts_kind kind, const char *repository, const struct digest *manifest,
		  struct digest *ret);
int artifacts_put(const struct store *s, enum artifacts_kind kind, const char *repository, const struct digest *manifest,
		  const struct digest *artifact);
int artifacts_remove(const struct store *s, enum artifacts_kind kind, const char *repository,
		     const struct digest *manifest);
