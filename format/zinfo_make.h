/* zinfo_make: inflates a gzip blob (or passes a plain one) and notes on the way what SOCI calls zinfo: the checkpoints
 * from which it can be inflated, with their windows, and the digests of what lies between them.
 *
 * Ownership  zinfo_make_new() hands over, zinfo_make_free() ends it; so zinfo_make_finish() and zinfo_make_result_free().
 * Units      Bytes.
 * Errors     -EBADMSG: corrupt or cut. -EOPNOTSUPP: something behind the last gzip member, or zstd. -EFBIG: more
 *            checkpoints than a table may have. -ENOMEM. All bare.
 * Threads    One thread at a time.
 * Source     soci-snapshotter ztoc/compression/gzip_zinfo.c, ztoc/zinfo_builder.go: the same blob gives the same bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/digest.h"
#include "format/decoder.h"

#define ZINFO_SPAN_SIZE (4u << 20) /* soci-snapshotter's own choice */

struct zinfo {
	bool gzip;
	uint64_t packed_size;
	struct bytes checkpoints; /* of gzip: as a zTOC has them */
	struct bytes digests;	  /* struct digest each, of a span's packed bytes */
	size_t n_spans;
};
void zinfo_make_result_free(struct zinfo *z);

struct zinfo_make;

int zinfo_make_new(enum decoder_kind kind, struct zinfo_make **ret);
void zinfo_make_free(struct zinfo_make **m);

/* As decoder_run(): from `in` into `out` until one of them is used up. */
int zinfo_make_run(struct zinfo_make *m, const uint8_t *in, size_t in_size, size_t *ret_in, uint8_t *out, size_t out_size,
		   size_t *ret_out);

/* After the last packed byte. */
int zinfo_make_finish(struct zinfo_make *m, struct zinfo *ret);
