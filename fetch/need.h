/* need: packets between the file server and the fetcher about missing pages of layer files.
 *
 * Ownership  Plain values over a SOCK_SEQPACKET pair that the supervisor made and keeps.
 * Units      Pages of 4096 bytes of the layer file.
 * Errors     In NEED_FAILED: a positive errno for the reader (EIO, ...); the reason is in the log.
 * Threads    A packet is one system call.
 * Source     docs/design.md, "The processes".
 */
#pragma once

#include <stdint.h>

enum need_kind {
	NEED_PAGES = 1,	   /* server -> fetcher: a reader waits for these */
	NEED_DONE = 2,	   /* fetcher -> server: bits of these pages are set: look again */
	NEED_FAILED = 3,   /* fetcher -> server: they will not come */
	NEED_RESTART = 4,  /* supervisor -> server: the fetcher is a new one: ask again for all that is parked */
	NEED_INVALIDATE_IMAGE = 5, /* fetcher -> server: image `number` was removed from the number table */
	NEED_INVALIDATE_LAYER = 6,
	NEED_GIVE_UP = 7, /* supervisor -> server: fetchers die of what is parked: answer it with EIO */
	NEED_DROP_PAGES = 8, /* fetcher -> server: layer `number` was evicted: its files' pages leave the cache */
	NEED_RECORD = 9, /* fetcher -> server: from now on each read is noted in <store>/tmp/touched; number 0: not any more */
	NEED_TOUCHED = 10, /* server -> fetcher: a read, the first of its file or of a part of it, in a layer with missing
			      pages; `in_page`: where in the first page it begins; `error`: 1 when it has to wait */
};

/* What <store>/tmp/touched is made of: the pages that reads asked for, in order. */
struct need_touched {
	uint32_t number; /* of the layer */
	uint32_t n_pages;
	uint64_t first_page;
};

struct need {
	uint32_t kind;
	uint32_t number; /* of the layer (or image) in the number table */
	uint32_t error;
	uint32_t in_page;
	uint64_t first_page;
	uint64_t n_pages;
};
