/* toc_place: where a layer's own table of contents lies in its blob, and which digest vouches for it.
 *
 * The digest is an annotation of the layer's descriptor in the manifest: without one, nothing vouches for the table, and
 * the layer is none of these formats for us. The place is an annotation too (zstd:chunked), or in a footer.
 *
 * Ownership  Plain values.
 * Units      Bytes of the blob.
 * Errors     -ENOENT: there is none (bare). -EBADMSG: not what the format says (bare).
 * Threads    Any.
 * Source     stargz-snapshotter docs/estargz.md, estargz/zstdchunked; containers/storage pkg/chunked/internal/minimal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json_object.h>

#include "base/digest.h"
#include "format/media_type.h"

enum toc_kind {
	TOC_NONE,
	TOC_ESTARGZ,	  /* gzip members */
	TOC_ZSTD_CHUNKED, /* zstd frames */
};

struct toc_place {
	enum toc_kind kind;
	struct digest packed, plain; /* sha256 of the table as packed and of its JSON; at least one of them is there */
	uint64_t off, packed_size;   /* packed_size 0: the footer says */
	uint64_t plain_size;	     /* 0: not known */
};

/* "estargz", "zstd:chunked". */
const char *toc_place_name(enum toc_kind kind);

/* From a layer's descriptor. No annotation of these formats, or no usable one: kind is TOC_NONE. */
void toc_place_find(const struct json_object *descriptor, enum media_type type, struct toc_place *ret);

#define TOC_PLACE_FOOTER_MAX 72u /* bytes from the blob's end that every footer fits in */

/* Reads the footer of the place's kind, which `tail` ends with; the blob has blob_size bytes. off, packed_size and
 * plain_size are set. *ret_external: the table lies in another image (eStargz); then nothing is set. */
int toc_place_footer(struct toc_place *p, const void *tail, size_t size, uint64_t blob_size, bool *ret_external);
