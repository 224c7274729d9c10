/* span_maker: cuts a gzip or zstd blob, as it passes by, into spans that can be decoded by themselves.
 *
 * A gzip span begins at a checkpoint: a deflate block's edge, or a member's. Of its window (the 32 KiB before it) only
 * the bytes that the span refers to are stored, as one zstd frame (SPAN_WINDOW_USED); all windows lie one behind the
 * other. A window that is large beside the packed bytes that it saves is not stored: who wants such a span fetches
 * those before it too, from the last one that has a window (SPAN_WINDOW_BEFORE). A zstd span begins with a frame. Spans are cut at page edges: decoding begins at or before them, and what
 * precedes is dropped.
 *
 * Ownership  span_maker_new() hands over; span_maker_free() ends it.
 * Units      Bytes; spans are about SPAN_MAKER_SIZE plain bytes.
 * Errors     -EBADMSG: corrupt (reported by the caller, who knows the blob). -EOPNOTSUPP: the blob cannot be entered
 *            in its middle, as a single zstd frame (bare). -ENOMEM.
 * Threads    One thread at a time. Memory: a few hundred KiB and one span's packed bytes; for zstd its window.
 * Source     zlib.h (inflate() with Z_BLOCK, data_type); docs/design.md, "Checkpoints".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/digest.h"
#include "format/decoder.h"
#include "format/span_table.h"

#define SPAN_MAKER_SIZE (32u << 10)

struct span_maker;

/* `kind` is DECODER_GZIP or DECODER_ZSTD. */
int span_maker_new(enum decoder_kind kind, struct span_maker **ret);
void span_maker_free(struct span_maker **m);

/* The blob's next bytes. */
int span_maker_feed(struct span_maker *m, const void *packed, size_t size);

/* After the last one: the spans of the whole tar go into `spans` (which may get more behind them), the windows
 * into *ret_windows. *ret_plain and *ret_plain_size are of the tar. */
int span_maker_finish(struct span_maker *m, struct span_table_builder *spans, struct bytes *ret_windows,
		      struct digest *ret_plain, uint64_t *ret_plain_size);
