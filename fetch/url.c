/* Addresses come from Location and realm headers, so nothing odd is let through. */
#include "fetch/url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

static int port_parse(const char *text, size_t size, uint16_t *ret)
{
	unsigned int port = 0;

	if (size == 0 || size > 5)
		return -EINVAL;
	for (size_t i = 0; i < size; i++) {
		if (!isdigit((unsigned char)text[i]))
			return -EINVAL;
		port = port * 10 + (unsigned int)(text[i] - '0');
	}
	if (port == 0 || port > 65535)
		return -EINVAL;
	*ret = (uint16_t)port;
	return 0;
}

int url_origin_parse(const char *url, struct url_origin *ret)
{
	struct url_origin o = {0};
	const char *at, *host, *end;
	size_t host_size;

	if (strncasecmp(url, "https://", 8) == 0) {
		o.https = true;
		at = url + 8;
	} else if (strncasecmp(url, "http://", 7) == 0) {
		at = url + 7;
	} else {
		return -EINVAL;
	}
	o.port = o.https ? 443 : 80;
	end = at + strcspn(at, "/?#");
	for (const char *c = url; *c; c++)
		if ((unsigned char)*c <= ' ' || *c == 127 || *c == '\\')
			return -EINVAL;
	if (memchr(at, '@', (size_t)(end - at)))
		return -EINVAL;
	host = at;
	if (*at == '[') {
		const char *close = memchr(at, ']', (size_t)(end - at));

		if (!close)
			return -EINVAL;
		host = at + 1;
		host_size = (size_t)(close - host);
		at = close + 1;
	} else {
		host_size = strcspn(at, ":/?#");
		at += host_size;
	}
	if (host_size == 0 || host_size >= sizeof(o.host))
		return -EINVAL;
	for (size_t i = 0; i < host_size; i++)
		o.host[i] = (char)tolower((unsigned char)host[i]);
	if (at < end) {
		if (*at != ':' || port_parse(at + 1, (size_t)(end - at - 1), &o.port) < 0)
			return -EINVAL;
	}
	*ret = o;
	return 0;
}

bool url_origin_equal(const struct url_origin *a, const struct url_origin *b)
{
	return a->https == b->https && a->port == b->port && strcmp(a->host, b->host) == 0;
}

bool url_host_is_loopback(const char *host)
{
	struct in6_addr six;
	struct in_addr four;

	if (strcasecmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &four) == 1)
		return ntohl(four.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

int url_encode(struct bytes *to, const char *text)
{
	int r = 0;

	for (; *text && r == 0; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 128 && (isalnum(c) || strchr("-._~", c)))
			r = bytes_append(to, &c, 1);
		else
			r = bytes_printf(to, "%%%02X", c);
	}
	return r;
}
