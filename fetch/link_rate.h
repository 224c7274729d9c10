/* link_rate: how many bytes a link brings, measured on what comes.
 *
 * Ownership  A plain value, all zeros at first.
 * Units      Packed bytes; milliseconds.
 * Errors     None.
 * Threads    The caller's business.
 * Source     docs/design.md, "What is fetched before it is asked for".
 */
#pragma once

#include <stdint.h>

struct link_rate {
	int64_t since; /* clock_ms() when `bytes` began */
	uint64_t bytes, rate; /* rate: bytes a millisecond */
};

/* So many have come. */
void link_rate_count(struct link_rate *l, uint64_t bytes);

/* What the link brings in so long; 0: nothing was measured yet. */
uint64_t link_rate_in(const struct link_rate *l, unsigned int ms);
