/* url: the few questions we ask about http and https addresses: whose they are, and how to write
 * one.
 *
 * Ownership  Plain values.
 * Units      -
 * Errors     -EINVAL, bare: not http or https, no host, user information, a port that is no number.
 * Threads    Any.
 * Source     RFC 3986; RFC 6454 (origin).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct url_origin {
	bool https;
	char host[256]; /* lower case, without the brackets of IPv6 */
	uint16_t port;
};

int url_origin_parse(const char *url, struct url_origin *ret);
bool url_origin_equal(const struct url_origin *a, const struct url_origin *b);

/* 127.0.0.0/8, ::1, localhost: nobody else can answer there. */
bool url_host_is_loopback(const char *host);

/* Appends `text` with everything but RFC 3986's unreserved characters as %XX. */
int url_encode(struct bytes *to, const char *text);
