/* decoder: packed bytes in, plain bytes out: stored, gzip (ISA-L, many members), zstd (many frames).
 *
 * Ownership  decoder_new() hands over; decoder_free() ends it.
 * Units      Bytes. Memory: some 200 KiB for gzip, up to the window (128 MiB) for zstd.
 * Errors     -EBADMSG: corrupt or cut (reported: which format, at which packed byte). -EFBIG: a zstd
 *            window over the limit. -ENOMEM.
 * Threads    One decoder is used by one thread at a time.
 * Source     RFC 1952 (members, CRC32 and ISIZE are checked), RFC 8878 (frames, skippable frames).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum decoder_kind {
	DECODER_STORED,
	DECODER_GZIP,
	DECODER_ZSTD,
};

/* Whether so many plain bytes are more than an honest stream of `packed` bytes holds: a bomb. */
bool decoder_is_bomb(uint64_t packed, uint64_t plain);

struct decoder;

int decoder_new(enum decoder_kind kind, struct decoder **ret);
void decoder_free(struct decoder **d);

/* What the first bytes say (registries serve blobs whose media type lies): gzip and zstd magic, else
 * stored. Needs 4 bytes, fewer mean stored. */
enum decoder_kind decoder_sniff(const void *data, size_t size);

/* Decodes from `in` into `out` until one of them is used up. *ret_in and *ret_out say how much was.
 * Progress is made whenever both have bytes. With in_size 0 it drains what is held back. */
int decoder_run(struct decoder *d, const void *in, size_t in_size, size_t *ret_in, void *out,
		size_t out_size, size_t *ret_out);

/* After the last packed byte: -EBADMSG when the stream stopped in the middle. */
int decoder_finish(struct decoder *d);
