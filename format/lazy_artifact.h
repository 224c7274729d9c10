/* lazy_artifact: the manifest of our artifact: what makes an image's unchanged layers lazy, and its start packs.
 *
 * An OCI image manifest with artifactType, subject = the image's manifest, and as layers: for each layer of
 * the image its layer index, span table and checkpoint windows; and any number of start packs and profiles.
 *
 * Ownership  lazy_artifact_parse() hands over; lazy_artifact_free() ends it.
 * Units      Bytes, packed.
 * Errors     Parsing reports with `name`: -EBADMSG, -EFBIG, -EOPNOTSUPP. Building: -ENOMEM.
 * Threads    A plain value once parsed.
 * Source     docs/design.md, "Our own artifact"; image-spec manifest.md, "Guidelines for Artifact Usage".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/digest.h"
#include "base/limits.h"

#define LAZY_ARTIFACT_TYPE "application/vnd.lazyrun.lazy.v1"
#define LAZY_ARTIFACT_INDEX_TYPE "application/vnd.lazyrun.layer-index.v1+zstd"
#define LAZY_ARTIFACT_SPANS_TYPE "application/vnd.lazyrun.spans.v1+zstd"
#define LAZY_ARTIFACT_WINDOWS_TYPE "application/vnd.lazyrun.windows.v1"
#define LAZY_ARTIFACT_PACK_TYPE "application/vnd.lazyrun.pack.v1"
#define LAZY_ARTIFACT_PROFILE_TYPE "application/vnd.lazyrun.profile.v1"

#define LAZY_ARTIFACT_CREATED "org.opencontainers.image.created" /* the annotation that says which is the newest */

/* Every artifact has this blob as its config: "{}". */
#define LAZY_ARTIFACT_CONFIG "{}"
#define LAZY_ARTIFACT_CONFIG_DIGEST "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

struct lazy_artifact_blob {
	struct digest digest; /* DIGEST_NONE: there is none */
	uint64_t size;
};

struct lazy_artifact_layer {
	struct digest layer; /* of the image's layer blob */
	struct lazy_artifact_blob index, spans, windows; /* the first two always. spans: two zstd frames, the span table and
							    the link table; the second one may be missing */
};

struct lazy_artifact_pack {
	struct lazy_artifact_blob blob;
	struct digest head; /* of its first head_size bytes */
	uint64_t head_size;
	char *command; /* the container's argv it was recorded with, a JSON array of strings */
};

struct lazy_artifact_profile {
	struct lazy_artifact_blob blob;
	struct digest command; /* sha256 of lazy_artifact_command(): what was typed here is not told */
};

struct lazy_artifact {
	struct digest subject;
	uint64_t subject_size;
	char subject_type[LIMIT_MEDIA_TYPE_SIZE + 1];
	char created[64]; /* RFC 3339 */
	struct lazy_artifact_layer *layers;
	size_t n_layers;
	struct lazy_artifact_pack *packs;
	size_t n_packs;
	struct lazy_artifact_profile *profiles; /* room for LIMIT_PROFILES when parsed */
	size_t n_profiles;
};

int lazy_artifact_parse(const void *data, size_t size, const char *name, struct lazy_artifact **ret);
void lazy_artifact_free(struct lazy_artifact **a);

/* The same bytes for the same value. */
int lazy_artifact_build(const struct lazy_artifact *a, struct bytes *ret);

/* NULL: the artifact has nothing for this layer. */
const struct lazy_artifact_layer *lazy_artifact_layer(const struct lazy_artifact *a, const struct digest *layer);

/* An argv as the JSON text that packs are found by; the same text for the same argv. */
int lazy_artifact_command(char *const *argv, struct bytes *ret);

/* NULL: there is none for this command. */
const struct lazy_artifact_profile *lazy_artifact_profile(const struct lazy_artifact *a, const struct digest *command);

/* The pack for a command: recorded with the same argv, else with the same program, else with the image's own
 * command (`fallback`). NULL: none of them. Both texts from lazy_artifact_command(); NULL: no such command. */
const struct lazy_artifact_pack *lazy_artifact_choose(const struct lazy_artifact *a, const char *command,
						      const char *fallback);
