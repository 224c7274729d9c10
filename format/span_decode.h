/* span_decode: the plain bytes of one span, from its packed bytes alone.
 *
 * Ownership  Borrows everything for the call.
 * Units      Bytes. `packed` holds span->packed_size of them, `window` span->window_size, `plain` has room for
 *            span->size.
 * Errors     -EBADMSG: corrupt, or fewer bytes than the span has; with a digest of packed bytes, more of them too
 *            (reported or bare: the caller names the layer).
 *            -EOPNOTSUPP: a kind that has no packed bytes (bare). -ENOMEM.
 * Threads    Any; some 300 KiB for the call, for zstd up to its window (128 MiB).
 * Source     RFC 1951, RFC 1952, RFC 8878; ISA-L's igzip_lib.h for decoding from the middle of a stream.
 */
#pragma once

#include <stdint.h>

#include "format/span_table.h"

/* Plain bytes are not verified here. A span that ends the layer is filled up with zeros to its page. */
int span_decode(const struct span *span, const uint8_t *packed, const uint8_t *window, uint8_t *plain);

/* The same with the plain bytes before the checkpoint in place of its window: `skip` bytes before the span they end.
 * Whatever a span says of its window, this decodes it; SPAN_WINDOW_BEFORE only this. */
struct span_before {
	size_t size;
	uint8_t bytes[SPAN_WINDOW_MAX];
};
int span_decode_behind(const struct span *span, const uint8_t *packed, const struct span_before *before, uint8_t *plain);

/* Which bytes of the 32 KiB before its checkpoint a SPAN_GZIP refers to: 1 in used[] for each that is, else 0. */
int span_decode_used(const struct span *span, const uint8_t *packed, uint8_t used[static SPAN_WINDOW_MAX]);

/* Whether the digest is right, of packed or of plain bytes, whichever the span says. */
bool span_decode_verify(const struct span *span, const uint8_t *packed, const uint8_t *plain);
