/* artifact_push: what every artifact beside an image needs to be made and pushed: whose it is, where it goes, its blobs.
 *
 * Ownership  artifact_push_open() hands over; source_free() ends it.
 * Units      Bytes.
 * Errors     Reported.
 * Threads    Any.
 * Source     distribution-spec "Pushing Manifests with Subject"; docs/design.md, "Our own artifact".
 */
#pragma once

#include "base/limits.h"

#include "fetch/context.h"
#include "fetch/image.h"
#include "fetch/source.h"

/* The image's manifest, as the artifact's `subject` has it. */
struct artifact_subject {
	struct digest digest;
	uint64_t size;
	char type[LIMIT_MEDIA_TYPE_SIZE + 1];
	struct bytes manifest;
};
int artifact_push_subject(const struct store *s, const struct image *i, struct artifact_subject *ret);
void artifact_push_subject_free(struct artifact_subject *s);

/* Where it goes: NULL: beside the image, in `source`. The fetcher does not write in layouts: there it is a layout of its own
 * in the store, "staged" in the answer, which the caller moves (layout_put_all()). */
int artifact_push_open(struct context *c, const struct source *source, struct json_object *answer, struct source **ret);

/* A blob that lies in the store; what is not there is in the repository already. *sent grows by what it took. */
int artifact_push_blob(const struct store *s, struct source *to, const struct digest *digest, uint64_t *sent);

/* The empty config that each artifact names. */
int artifact_push_config(struct source *to);
