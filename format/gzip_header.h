/* gzip_header: the header of one gzip member, read as it passes by in pieces of any size.
 *
 * Ownership  A plain value; all zero is the start of a header.
 * Units      Bytes.
 * Errors     -EBADMSG, bare: wrong magic, method, reserved flags or header checksum.
 * Threads    A plain value.
 * Source     RFC 1952, section 2.3. ISA-L 2.30's own reader takes reserved flags, and calls a good
 *            header checksum wrong when it is cut between two pieces.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct gzip_header {
	uint32_t field; /* which part is being read */
	uint32_t pos;	/* in that part */
	uint32_t extra_size;
	uint32_t crc; /* of all header bytes before the checksum field */
	uint8_t flags;
};

/* Takes bytes of `data`; *ret_used says how many. Returns 1 when the header is complete. */
int gzip_header_take(struct gzip_header *h, const uint8_t *data, size_t size, size_t *ret_used);
