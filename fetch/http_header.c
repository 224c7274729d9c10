/* Small grammars, each matched in full. */
#include "fetch/http_header.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

static int number(const char **at, uint64_t *ret)
{
	uint64_t n = 0;

	if (!isdigit((unsigned char)**at))
		return -EBADMSG;
	for (; isdigit((unsigned char)**at); (*at)++)
		if (__builtin_mul_overflow(n, UINT64_C(10), &n) ||
		    __builtin_add_overflow(n, (uint64_t)(**at - '0'), &n))
			return -EBADMSG;
	*ret = n;
	return 0;
}

static const char *skip_blanks(const char *at)
{
	return at + strspn(at, " \t");
}

int http_header_content_range(const char *value, uint64_t *ret_first, uint64_t *ret_last,
			      uint64_t *ret_total)
{
	uint64_t first, last, total = HTTP_HEADER_UNKNOWN;
	const char *at = skip_blanks(value);

	if (strncasecmp(at, "bytes ", 6) != 0)
		return -EBADMSG;
	at = skip_blanks(at + 6);
	if (number(&at, &first) < 0 || *at++ != '-' || number(&at, &last) < 0 || *at++ != '/')
		return -EBADMSG;
	if (*at == '*')
		at++;
	else if (number(&at, &total) < 0)
		return -EBADMSG;
	if (*skip_blanks(at) || last < first || last == UINT64_MAX || last >= total)
		return -EBADMSG;
	*ret_first = first;
	*ret_last = last;
	*ret_total = total;
	return 0;
}

int http_header_retry_after(const char *value, time_t now, uint64_t *ret_seconds)
{
	const char *at = skip_blanks(value);
	struct tm tm = {0};
	uint64_t seconds;
	time_t then;

	if (isdigit((unsigned char)*at)) {
		if (number(&at, &seconds) < 0 || *skip_blanks(at))
			return -EBADMSG;
		*ret_seconds = seconds;
		return 0;
	}
	/* The one date form that a sender may still make (RFC 9110, 5.6.7); no locale is ever set.
	 */
	at = strptime(at, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	if (!at || *skip_blanks(at))
		return -EBADMSG;
	then = timegm(&tm);
	*ret_seconds = then > now ? (uint64_t)(then - now) : 0;
	return 0;
}

static bool is_token(char c)
{
	return c && ((isalnum((unsigned char)c) && (unsigned char)c < 128) ||
		     strchr("!#$%&'*+-.^_`|~", c));
}

/* A token or a quoted string; a value longer than `size` is refused, not cut. */
static int take_value(const char **at, char *out, size_t size)
{
	size_t n = 0;

	if (**at != '"') {
		for (; is_token(**at) || **at == '/' || **at == ':' || **at == '='; (*at)++) {
			if (n + 1 >= size)
				return -EBADMSG;
			out[n++] = **at;
		}
		out[n] = '\0';
		return n ? 0 : -EBADMSG;
	}
	for ((*at)++; **at != '"'; (*at)++) {
		if (**at == '\\')
			(*at)++;
		if (**at == '\0' || **at == '\n' || n + 1 >= size)
			return -EBADMSG;
		out[n++] = **at;
	}
	(*at)++;
	out[n] = '\0';
	return 0;
}

static int take_token(const char **at, char *out, size_t size)
{
	size_t n = 0;

	for (; is_token(**at); (*at)++) {
		if (n + 1 >= size)
			return -EBADMSG;
		out[n++] = (char)tolower((unsigned char)**at);
	}
	out[n] = '\0';
	return n ? 0 : -EBADMSG;
}

/* name=value, or -ENOENT where the next challenge begins: there a token is not followed by "=". */
static int take_parameter(const char **at, struct http_challenge *c)
{
	const char *p = *at;
	char name[64], dropped[2048];
	char *to = dropped;
	size_t size = sizeof(dropped);
	int r = take_token(&p, name, sizeof(name));

	if (r < 0)
		return r;
	p = skip_blanks(p);
	if (*p != '=')
		return -ENOENT;
	p = skip_blanks(p + 1);
	if (strcmp(name, "realm") == 0)
		to = c->realm, size = sizeof(c->realm);
	else if (strcmp(name, "service") == 0)
		to = c->service, size = sizeof(c->service);
	else if (strcmp(name, "scope") == 0)
		to = c->scope, size = sizeof(c->scope);
	else if (strcmp(name, "error") == 0)
		to = c->error, size = sizeof(c->error);
	r = take_value(&p, to, size);
	if (r < 0)
		to[0] = '\0'; /* half a value is none */
	else
		*at = p;
	return r;
}

int http_header_challenge(const char **at, struct http_challenge *ret)
{
	struct http_challenge c = {0};
	const char *p = *at;
	int r;

	p += strspn(p, " \t,\n");
	if (!*p)
		return -ENOENT;
	r = take_token(&p, c.scheme, sizeof(c.scheme));
	if (r < 0)
		return r;
	if (*p && !strchr(" \t,\n", *p))
		return -EBADMSG;
	for (;;) {
		const char *before = p;

		p += strspn(p, " \t,");
		if (!*p || *p == '\n')
			break;
		r = take_parameter(&p, &c);
		if (r == -ENOENT && memchr(before, ',', (size_t)(p - before)))
			break; /* "Basic realm=..., Bearer ...": p stands before the next scheme */
		if (r <
		    0) /* "Negotiate dG9rZW4=": one bare value is a parameter of schemes we skip */
			p += strcspn(p, ",\n");
	}
	*ret = c;
	*at = p;
	return 0;
}

/* One parameter of a link; *ret_next when it is rel="next" (rel may hold several words). */
static int take_link_parameter(const char **at, bool *ret_next)
{
	char name[64], value[1024];
	const char *p = skip_blanks(*at + 1); /* behind the ';' */
	int r = take_token(&p, name, sizeof(name));

	if (r < 0)
		return r;
	p = skip_blanks(p);
	value[0] = '\0';
	if (*p == '=') {
		p = skip_blanks(p + 1);
		r = take_value(&p, value, sizeof(value));
		if (r < 0)
			return r;
	}
	if (strcmp(name, "rel") == 0) {
		char *rest = value, *word;

		while ((word = strsep(&rest, " ")))
			*ret_next |= strcasecmp(word, "next") == 0;
	}
	*at = skip_blanks(p);
	return 0;
}

int http_header_link_next(const char *value, char *ret, size_t size)
{
	const char *at = value;

	for (;;) {
		const char *target, *end;
		bool next = false;

		at += strspn(at, " \t,");
		if (!*at)
			return -ENOENT;
		if (*at++ != '<')
			return -EBADMSG;
		target = at;
		end = strchr(at, '>');
		if (!end)
			return -EBADMSG;
		at = skip_blanks(end + 1);
		while (*at == ';')
			if (take_link_parameter(&at, &next) < 0)
				return -EBADMSG;
		if (*at && *at != ',')
			return -EBADMSG;
		if (!next)
			continue;
		if ((size_t)(end - target) >= size)
			return -EBADMSG;
		memcpy(ret, target, (size_t)(end - target));
		ret[end - target] = '\0';
		return 0;
	}
}
