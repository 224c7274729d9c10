/* clock: milliseconds for deadlines.
 *
 * Ownership  -
 * Units      Milliseconds of CLOCK_MONOTONIC.
 * Errors     -
 * Threads    Any.
 * Source     clock_gettime(2).
 */
#pragma once

#include <stdint.h>

int64_t clock_ms(void);

/* What is left until `deadline`, as poll(2) wants it: never negative. */
int clock_left(int64_t deadline);
