/* manifest: image manifests and image indexes, OCI and docker v2 schema 2, parsed and checked.
 *
 * Ownership  manifest_parse() hands over; manifest_free() ends it with every text in it.
 * Units      Sizes count packed bytes in the registry.
 * Errors     -EBADMSG: not such a document, or one that is both (CVE-2021-41190). -EFBIG: a limit.
 *            -EOPNOTSUPP: schema 1, an artifact, an unknown layer type. -ENOENT: no such platform
 *            (the text lists what there is). All reported.
 * Threads    Never changes after parse.
 * Source     image-spec manifest.md, image-index.md, descriptor.md; docker image-manifest-v2-2.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "format/media_type.h"
#include "format/platform.h"
#include "format/toc_place.h"

struct descriptor {
	enum media_type type;
	struct digest digest;
	uint64_t size;
};

struct manifest_entry { /* of an index */
	struct descriptor descriptor;
	struct platform platform;
	bool has_platform;
	struct digest soci; /* of the SOCI index (version 2) that another entry says is this one's; DIGEST_NONE: none */
};

struct manifest {
	bool is_index;
	struct descriptor config; /* of a manifest; MEDIA_OTHER with old builders */
	struct descriptor *layers;
	struct toc_place *tables; /* one a layer: of its own table of contents */
	size_t n_layers;
	struct digest soci; /* of a manifest: the SOCI index (version 2) that it names; DIGEST_NONE: none */
	struct manifest_entry *entries; /* of an index, in document order; MEDIA_OTHER is no image */
	size_t n_entries;
};

/* `content_type` is the HTTP header or NULL; when the body has a mediaType too, the two must agree.
 * `name` is used in messages ("debian:12"). */
int manifest_parse(const void *data, size_t size, const char *content_type, const char *name,
		   struct manifest **ret);
void manifest_free(struct manifest **m);

/* The first entry that fits best (exact variant, then what the machine can run: arm v7 takes v6...).
 * It may be an index itself. When no entry names a platform, the first image or index is taken. */
int manifest_choose(const struct manifest *index, const struct platform *wanted, const char *name,
		    const struct manifest_entry **ret);
