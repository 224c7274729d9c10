/* human: numbers as people read them.
 *
 * Ownership  Texts go into the caller's buffer, which is returned.
 * Units      Bytes, with decimal multiples (1 MB is 1,000,000); seconds.
 * Errors     -
 * Threads    Any.
 * Source     -
 */
#pragma once

#include <stdint.h>

#define HUMAN_SIZE 24

const char *human_bytes(uint64_t bytes, char ret[static HUMAN_SIZE]);     /* "12.3 MB" */
const char *human_duration(uint64_t seconds, char ret[static HUMAN_SIZE]); /* "45 s", "3 min 5 s", "2 h 10 min" */
const char *human_age(uint64_t seconds, char ret[static HUMAN_SIZE]);	   /* "3 hours", one unit */
