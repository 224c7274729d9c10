/* http_header: the values of the HTTP headers that we obey, parsed.
 *
 * Ownership  Plain values; http_header_challenge() copies into fixed arrays.
 * Units      Bytes; seconds.
 * Errors     -EBADMSG: not such a value. -ENOENT: no further challenge. Both bare.
 * Threads    Any.
 * Source     RFC 9110: 11.6.1 WWW-Authenticate, 14.4 Content-Range, 10.2.3 Retry-After;
 *            RFC 8288: Link.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define HTTP_HEADER_UNKNOWN UINT64_MAX

/* "bytes 0-99/1234": first, last, and the whole size or HTTP_HEADER_UNKNOWN ("*"). */
int http_header_content_range(const char *value, uint64_t *ret_first, uint64_t *ret_last,
			      uint64_t *ret_total);

/* Seconds to wait from `now`: a number, or a date (at least 0). */
int http_header_retry_after(const char *value, time_t now, uint64_t *ret_seconds);

/* The address (absolute or relative) that a Link header calls rel="next". -ENOENT: none. */
int http_header_link_next(const char *value, char *ret, size_t size);

struct http_challenge {
	char scheme[32]; /* lower case */
	char realm[1024];
	char service[256];
	char scope[1024];
	char error[64];
};

/* The next challenge of one or several header values (values separated by newlines); *at moves. */
int http_header_challenge(const char **at, struct http_challenge *ret);
