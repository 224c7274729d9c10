/* A reference is cut from its end (digest, then tag); then each part is held against its grammar.
 */
#include "format/reference.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/report.h"

#define DEFAULT_HOST "docker.io"
#define ALNUM_LOWER "abcdefghijklmnopqrstuvwxyz0123456789"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define HEX_LOWER "0123456789abcdef"

struct part { /* of the text that is being parsed */
	const char *at;
	size_t size;
};

/* For "%.*s": the texts in messages are cut, since the user wrote them and sees them anyway. */
#define SHOWN(p) (int)((p).size < 300 ? (p).size : 300), (p).at

static int __attribute__((format(printf, 2, 3))) wrong(const char *text, const char *fmt, ...)
{
	char what[REPORT_TEXT_SIZE - 512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	return fail(EINVAL, "reference \"%.300s\": %s", text, what);
}

static bool part_is(struct part p, const char *text)
{
	return p.size == strlen(text) && memcmp(p.at, text, p.size) == 0;
}

/* How many bytes from `from` on are all of, or all not of, the set. */
static size_t span_of(struct part p, size_t from, const char *set, bool wanted)
{
	size_t i = from;

	while (i < p.size && (p.at[i] && strchr(set, p.at[i])) == wanted)
		i++;
	return i - from;
}

static bool only(struct part p, const char *set)
{
	return span_of(p, 0, set, true) == p.size;
}

/* Takes what stands behind the last `c` off the part. */
static bool cut_at_last(struct part *p, char c, struct part *ret)
{
	const char *found = memrchr(p->at, c, p->size);

	if (!found)
		return false;
	*ret = (struct part){found + 1, p->size - (size_t)(found + 1 - p->at)};
	p->size = (size_t)(found - p->at);
	return true;
}

static void lower(char *text)
{
	for (; *text; text++)
		if (*text >= 'A' && *text <= 'Z')
			*text = (char)(*text - 'A' + 'a');
}

static int parse_digest(const char *text, struct part p, struct digest *ret)
{
	int r = digest_parse(p.at, p.size, ret);

	if (r == 0)
		return 0;
	if (!memchr(p.at, ':', p.size))
		return wrong(text, "behind '@' stands a digest like sha256:0123...; a tag goes "
				   "behind ':'");
	if (r == -EOPNOTSUPP)
		return wrong(text,
			     "the digest algorithm of \"%.*s\" is not known; use sha256 or "
			     "sha512",
			     SHOWN(p));
	return wrong(text,
		     "\"%.*s\" is not a digest; write sha256: and 64 (sha512: and 128) "
		     "digits of 0-9a-f",
		     SHOWN(p));
}

static int parse_tag(const char *text, struct part p, char *ret, size_t ret_size)
{
	static const char first[] = ALNUM_LOWER UPPER "_", rest[] = ALNUM_LOWER UPPER "_.-";

	if (p.size == 0)
		return wrong(text, "no tag stands behind ':'; write one, for example \":latest\", "
				   "or leave the ':' out");
	if (p.size >= ret_size)
		return wrong(text, "the tag has %zu characters, at most %zu are allowed", p.size,
			     ret_size - 1);
	if (!strchr(first, p.at[0]) || !only(p, rest))
		return wrong(text,
			     "the tag \"%.*s\" is not allowed: it is made of letters, "
			     "digits, '_', '.' and '-', and starts with a letter, a digit or '_'",
			     SHOWN(p));
	memcpy(ret, p.at, p.size);
	ret[p.size] = '\0';
	return 0;
}

/* [a-z0-9]+ joined by one of ".", "_", "__" or any number of "-". */
static bool component_is_right(struct part p)
{
	size_t at = 0;

	for (;;) {
		size_t n = span_of(p, at, ALNUM_LOWER, true), separator;

		if (n == 0)
			return false;
		at += n;
		if (at == p.size)
			return true;
		separator = span_of(p, at, "-", true);
		if (separator == 0)
			separator = p.at[at] == '.' ? 1 : span_of(p, at, "_", true);
		if (separator == 0 || (p.at[at] == '_' && separator > 2))
			return false;
		at += separator;
	}
}

static int check_repository(const char *text, struct part p)
{
	if (p.size == 0)
		return wrong(text, "no image is named; write [HOST/]NAME[:TAG]");
	if (span_of(p, 0, UPPER, false) < p.size) {
		char suggestion[LIMIT_REPOSITORY_SIZE + 1];

		snprintf(suggestion, sizeof(suggestion), "%.*s", (int)p.size, p.at);
		lower(suggestion);
		return wrong(text, "the repository \"%.*s\" must be in lower case; try \"%s\"",
			     SHOWN(p), suggestion);
	}
	for (size_t at = 0; at <= p.size;) {
		struct part c = {p.at + at, span_of(p, at, "/", false)};

		if (c.size == 0)
			return wrong(text, "a part of the name is empty; write single '/' between "
					   "the parts and none at the end");
		if (!component_is_right(c))
			return wrong(text,
				     "\"%.*s\" is not allowed in a name: its parts are "
				     "letters a-z and digits, joined by '.', '_', '__' or '-'",
				     SHOWN(c));
		at += c.size + 1;
	}
	return 0;
}

static int check_port(const char *text, struct part p)
{
	unsigned int port = 0;

	for (size_t i = 0; i < p.size && i < 6; i++)
		port = port * 10 + (unsigned int)(p.at[i] - '0');
	if (p.size == 0 || p.size > 5 || !only(p, "0123456789") || port == 0 || port > 65535)
		return wrong(text,
			     "\"%.*s\" is not a port; write HOST:PORT with a number from 1 "
			     "to 65535",
			     SHOWN(p));
	return 0;
}

/* "[::1]" with what follows it in *ret_port. */
static int check_ipv6(const char *text, struct part host, struct part *ret_port, bool *ret_has_port)
{
	char address[INET6_ADDRSTRLEN] = "";
	const char *end = memchr(host.at, ']', host.size);
	size_t size = end ? (size_t)(end - host.at) - 1 : 0;
	struct in6_addr binary;

	if (size > 0 && size < sizeof(address))
		memcpy(address, host.at + 1, size);
	if (inet_pton(AF_INET6, address, &binary) != 1)
		return wrong(text,
			     "\"%.*s\" is not an IPv6 address in brackets; write for example "
			     "[::1]:5000/NAME",
			     SHOWN(host));
	*ret_port = (struct part){end + 1, host.size - size - 2};
	*ret_has_port = ret_port->size > 0;
	if (!*ret_has_port)
		return 0;
	if (ret_port->at[0] != ':')
		return wrong(text, "behind the ']' of a host stands ':' and a port");
	ret_port->at++;
	ret_port->size--;
	return 0;
}

static int check_host(const char *text, struct part host)
{
	struct part port = {0}, name = host;
	bool has_port = false;
	int r;

	if (host.size > 0 && host.at[0] == '[') {
		r = check_ipv6(text, host, &port, &has_port);
		if (r < 0)
			return r;
		return has_port ? check_port(text, port) : 0;
	}
	has_port = cut_at_last(&name, ':', &port);
	if (memchr(name.at, ':', name.size))
		return wrong(text,
			     "\"%.*s\" is not a host; an IPv6 address stands in brackets, as "
			     "in [::1]:5000/NAME",
			     SHOWN(host));
	for (size_t at = 0; at <= name.size;) {
		struct part c = {name.at + at, span_of(name, at, ".", false)};

		if (c.size == 0 || !only(c, ALNUM_LOWER UPPER "-") || c.at[0] == '-' ||
		    c.at[c.size - 1] == '-')
			return wrong(text,
				     "\"%.*s\" is not a host: its parts are letters, digits "
				     "and '-' (not at an end), joined by single '.'",
				     SHOWN(host));
		at += c.size + 1;
	}
	return has_port ? check_port(text, port) : 0;
}

/* Whether the first component is a host, as docker tells it from a namespace. */
static bool is_host(struct part p)
{
	return span_of(p, 0, ".:[", false) < p.size || part_is(p, "localhost");
}

static int set_name(const char *text, struct part name, struct reference *ref)
{
	struct part host = {DEFAULT_HOST, strlen(DEFAULT_HOST)}, repository = name;
	size_t first = span_of(name, 0, "/", false);
	const char *prefix = "";
	int r;

	if (name.size == 64 && only(name, HEX_LOWER))
		return wrong(text,
			     "this looks like a digest or the ID of an image; write "
			     "NAME@sha256:%.*s",
			     SHOWN(name));
	if (first < name.size && is_host((struct part){name.at, first})) {
		host = (struct part){name.at, first};
		repository = (struct part){name.at + first + 1, name.size - first - 1};
		r = check_host(text, host);
		if (r < 0)
			return r;
	}
	r = check_repository(text, repository);
	if (r < 0)
		return r;
	if (host.size <= LIMIT_REPOSITORY_SIZE)
		snprintf(ref->host, sizeof(ref->host), "%.*s", (int)host.size, host.at);
	lower(ref->host);
	if (strcmp(ref->host, "index." DEFAULT_HOST) == 0)
		strcpy(ref->host, DEFAULT_HOST);
	if (strcmp(ref->host, DEFAULT_HOST) == 0 && !memchr(repository.at, '/', repository.size))
		prefix = "library/";
	if (host.size + 1 + strlen(prefix) + repository.size > LIMIT_REPOSITORY_SIZE)
		return wrong(text, "host and repository have more than %u characters",
			     LIMIT_REPOSITORY_SIZE);
	snprintf(ref->repository, sizeof(ref->repository), "%s%.*s", prefix, (int)repository.size,
		 repository.at);
	return 0;
}

/* Other tools' prefixes, which would otherwise be read as a host with an empty port. */
static int check_transport(const char *text)
{
	static const char *const others[] = {
		"docker-archive:",     "oci-archive:", "dir:",	   "docker-daemon:",
		"containers-storage:", "sif:",	       "tarball:",
	};

	if (strstr(text, "://") && strcspn(text, ":/@") == (size_t)(strstr(text, "://") - text))
		return wrong(text, "an image is named without \"%.*s\"; write HOST/NAME[:TAG]",
			     (int)(strstr(text, "://") - text) + 3, text);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		size_t n = strlen(others[i]);

		if (strncmp(text, others[i], n) == 0 && (text[n] == '/' || text[n] == '.'))
			return wrong(text,
				     "images are not read from \"%s\"; copy it to a layout "
				     "first: skopeo copy %.300s oci:DIR:TAG",
				     others[i], text);
	}
	return 0;
}

static int parse_registry(const char *text, const char *start, struct reference *ref)
{
	struct part rest = {start, strlen(start)}, p;
	const char *at = memchr(rest.at, '@', rest.size);
	const char *slash, *colon;
	int r = check_transport(start);

	if (r < 0)
		return r;
	if (rest.size > LIMIT_REFERENCE_SIZE)
		return wrong(text, "it has %zu characters, at most %u are allowed", rest.size,
			     LIMIT_REFERENCE_SIZE);
	if (at) {
		p = (struct part){at + 1, rest.size - (size_t)(at + 1 - rest.at)};
		rest.size = (size_t)(at - rest.at);
		r = parse_digest(text, p, &ref->digest);
		if (r < 0)
			return r;
	}
	slash = memrchr(rest.at, '/', rest.size);
	colon = memrchr(rest.at, ':', rest.size);
	if (colon && (!slash || colon > slash)) {
		cut_at_last(&rest, ':', &p);
		r = parse_tag(text, p, ref->tag, sizeof(ref->tag));
		if (r < 0)
			return r;
	}
	if (!ref->tag[0] && ref->digest.algorithm == DIGEST_NONE)
		strcpy(ref->tag, "latest");
	return set_name(text, rest, ref);
}

static int set_layout_path(const char *text, struct part p, struct reference *ref)
{
	int n;

	if (p.size == 0)
		return wrong(text, "no directory stands behind \"oci:\"; write oci:DIR[:TAG]");
	if (p.size > LIMIT_PATH_SIZE)
		return wrong(text, "the path is longer than %u bytes", LIMIT_PATH_SIZE);
	if (p.at[0] == '/') {
		n = snprintf(ref->path, sizeof(ref->path), "%.*s", (int)p.size, p.at);
	} else {
		char here[LIMIT_PATH_SIZE + 1];

		if (!getcwd(here, sizeof(here)))
			return wrong(text, "the working directory has no name (%m); write oci:/DIR "
					   "with an absolute path");
		n = snprintf(ref->path, sizeof(ref->path), "%s/%.*s",
			     strcmp(here, "/") == 0 ? "" : here, (int)p.size, p.at);
	}
	if (n < 0 || (size_t)n >= sizeof(ref->path))
		return wrong(text, "the path is longer than %u bytes", LIMIT_PATH_SIZE);
	while (n > 1 && ref->path[n - 1] == '/')
		ref->path[--n] = '\0';
	/* Else the canonical text would be read as something different. */
	if (strchr(ref->path, ':') || (n > 7 && strncmp(ref->path + n - 7, "@sha", 4) == 0))
		return wrong(text, "the path of a layout must not hold ':' nor end in '@sha...'");
	return 0;
}

static int parse_layout(const char *text, const char *start, struct reference *ref)
{
	struct part rest = {start, strlen(start)}, before = rest, p;
	int r;

	/* A path may hold '@'; only what says it is a digest is one. */
	if (cut_at_last(&before, '@', &p) && ((p.size > 6 && memcmp(p.at, "sha256:", 7) == 0) ||
					      (p.size > 6 && memcmp(p.at, "sha512:", 7) == 0))) {
		rest = before;
		r = parse_digest(text, p, &ref->digest);
		if (r < 0)
			return r;
	}
	p.size = span_of(rest, 0, ":", false);
	if (p.size < rest.size) {
		r = parse_tag(text, (struct part){rest.at + p.size + 1, rest.size - p.size - 1},
			      ref->tag, sizeof(ref->tag));
		if (r < 0)
			return r;
		rest.size = p.size;
	}
	ref->kind = REFERENCE_LAYOUT;
	return set_layout_path(text, rest, ref);
}

int reference_parse(const char *text, struct reference *ret)
{
	struct reference ref = {.kind = REFERENCE_REGISTRY};
	const char *start = text;
	int r;

	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			return wrong(text, "it holds a control character");
	if (strncmp(start, "docker://", 9) == 0)
		start += 9;
	if (start == text && strncmp(start, "oci:", 4) == 0)
		r = parse_layout(text, start + 4, &ref);
	else
		r = parse_registry(text, start, &ref);
	if (r < 0)
		return r;
	*ret = ref;
	return 0;
}

const char *reference_text(const struct reference *ref, char out[static LIMIT_PATH_SIZE + 512])
{
	const size_t size = LIMIT_PATH_SIZE + 512;
	char digest[DIGEST_TEXT_MAX] = "";
	const char *colon = ref->tag[0] ? ":" : "", *at = "";

	if (ref->digest.algorithm != DIGEST_NONE) {
		digest_text(&ref->digest, digest);
		at = "@";
	}
	if (ref->kind == REFERENCE_LAYOUT)
		snprintf(out, size, "oci:%s%s%s%s%s", ref->path, colon, ref->tag, at, digest);
	else
		snprintf(out, size, "%s/%s%s%s%s%s", ref->host, ref->repository, colon, ref->tag,
			 at, digest);
	return out;
}
