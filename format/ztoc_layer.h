/* ztoc_layer: SOCI's table of a layer becomes members for its layer index, its span table, and the spans' windows.
 *
 * The layer file is the plain tar. A zTOC says where bodies lie and not where headers do: in the order of their bodies,
 * each member must leave room for its header behind the body before it.
 *
 * Ownership  Hands over the span table's and the windows' bytes; the members go into the caller's builder.
 * Units      Bytes of the tar; packed ones count in the blob.
 * Errors     -EBADMSG: bodies that overlap, are not where a tar has them, or what the builder refuses. -EFBIG: a limit.
 *            -EOPNOTSUPP: a sparse member, of which a zTOC does not say where its parts lie. Reported, with the name.
 * Threads    Any.
 * Source     soci-snapshotter ztoc/ztoc_marshaler.go, ztoc/tar.go (what is where, and what a record means).
 */
#pragma once

#include "base/bytes.h"
#include "format/layer_builder.h"
#include "format/ztoc.h"

/* layer_builder_finish() needs ztoc_size() then. Spans' windows lie in *ret_windows, each a zstd frame. */
int ztoc_layer_build(const struct ztoc *z, struct layer_builder *b, struct bytes *ret_spans, struct bytes *ret_windows);
