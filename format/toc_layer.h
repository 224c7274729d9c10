/* toc_layer: a layer's own table of contents becomes members for its layer index, and its span table.
 *
 * The table gives no place in a tar, so bodies are laid out here, in the table's order. A body of a page or more begins
 * at a page's edge and shares its pages with no other; smaller ones share a page, but cross no edge: who reads a file
 * waits for no large neighbour's chunk.
 *
 * Ownership  Hands over the span table's bytes; the members go into the caller's builder.
 * Units      Bytes of the layer file; packed ones count in the blob.
 * Errors     -EBADMSG: chunks that do not make up their file, outside the blob, or without a digest. -EFBIG: a limit.
 *            As toc.h and layer_builder.h. Reported with the entry's name.
 * Threads    Any.
 * Source     docs/design.md, "The one idea"; FORMATS of eStargz and zstd:chunked as in toc.h.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "format/layer_builder.h"
#include "format/toc_place.h"

/* `json` is the table, verified. *ret_bodies_size is what layer_builder_finish() needs. */
int toc_layer_build(enum toc_kind kind, const void *json, size_t size, uint64_t blob_size, struct layer_builder *b,
		    struct bytes *ret_spans, uint64_t *ret_bodies_size);
