/* soci_index: the manifest of a SOCI index: which zTOC belongs to which layer of an image.
 *
 * An OCI image manifest whose config's media type says what it is. Version 2 is named by the digest in an annotation of
 * the image; version 1 names the image as its subject. Layers may be left out (small ones are).
 *
 * Ownership  soci_index_parse() hands over; soci_index_free() ends it.
 * Units      Bytes.
 * Errors     Reported with `name`: -EBADMSG, -EFBIG. -EOPNOTSUPP: something else than a SOCI index.
 * Threads    A plain value once parsed.
 * Source     soci-snapshotter soci/soci_index.go, soci/soci_convert.go.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/digest.h"

#define SOCI_INDEX_TYPE_1 "application/vnd.amazon.soci.index.v1+json"
#define SOCI_INDEX_TYPE_2 "application/vnd.amazon.soci.index.v2+json"
#define SOCI_INDEX_ZTOC_TYPE "application/octet-stream"
#define SOCI_INDEX_SMALL (10u << 20) /* packed: smaller layers are left out, unless soci-snapshotter is told otherwise */

struct soci_index_layer {
	struct digest layer; /* of the image's layer blob */
	struct digest ztoc;
	uint64_t ztoc_size;
};

struct soci_index {
	unsigned int version;  /* 1 or 2 */
	struct digest subject; /* the image's manifest; DIGEST_NONE in version 2 */
	struct soci_index_layer *layers;
	size_t n_layers;
};

/* One of version 1, of the image with this manifest (whose media type is `type`). */
int soci_index_build(const struct bytes *manifest, const char *type, const char *tool,
		     const struct soci_index_layer *layers, size_t n, uint64_t span_size, struct bytes *ret);

int soci_index_parse(const void *data, size_t size, const char *name, struct soci_index **ret);
void soci_index_free(struct soci_index **i);

/* NULL: it is left out. */
const struct soci_index_layer *soci_index_layer(const struct soci_index *i, const struct digest *layer);
