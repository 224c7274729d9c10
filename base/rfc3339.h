/* rfc3339: points in time as Go's JSON and SOCI's tables write them: "2024-01-02T03:04:05.6+01:00".
 *
 * Ownership  -
 * Units      Seconds since 1970 and nanoseconds; digits behind the ninth are dropped.
 * Errors     -EBADMSG: not a time. -ERANGE: a year that has no four digits. Bare.
 * Threads    Any.
 * Source     RFC 3339 section 5.6, capital letters only.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define RFC3339_TEXT_SIZE 48
int rfc3339_write(int64_t seconds, uint32_t nsec, char ret[static RFC3339_TEXT_SIZE]); /* in UTC */

int rfc3339_parse(const char *text, size_t size, int64_t *ret_seconds, uint32_t *ret_nsec);
