/* Each text names the host, what was asked for, what came back, and what to do. */
#include "fetch/registry_error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/report.h"
#include "fetch/http_header.h"
#include "fetch/url.h"

#define SAID_SIZE 400

/* Printable text only, so that a terminal obeys nothing and the line stays one. */
static void append_clean(char *to, size_t size, const char *text)
{
	size_t n = strlen(to);

	for (; *text && n + 1 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= ' ' && c != 127)
			to[n++] = (char)c;
		else if (n && to[n - 1] != ' ')
			to[n++] = ' ';
	}
	to[n] = '\0';
}

static void append_field(char *to, size_t size, struct json_object *o, const char *key)
{
	const char *text;

	if (json_field_string(o, key, &text) < 0 || !*text)
		return;
	if (*to)
		append_clean(to, size, ": ");
	append_clean(to, size, text);
}

/* What the server itself says: errors[] of a registry, or error and error_description of a token
 * server. Anything else (web pages) is left out. */
static const char *said(const struct transport_reply *reply, char to[static SAID_SIZE])
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	struct json_object *errors;
	size_t n;

	to[0] = '\0';
	if (json_field_parse(reply->error_body.data, reply->error_body.size, &o) < 0)
		return to;
	if (json_field_array(o, "errors", &errors, &n) == 0 && n) {
		append_field(to, SAID_SIZE, json_object_array_get_idx(errors, 0), "code");
		append_field(to, SAID_SIZE, json_object_array_get_idx(errors, 0), "message");
	} else {
		append_field(to, SAID_SIZE, o, "error");
		append_field(to, SAID_SIZE, o, "error_description");
		append_field(to, SAID_SIZE, o, "details");
		append_field(to, SAID_SIZE, o, "message");
	}
	return to;
}

/* "registry.example", or "registry.example (redirected to cdn.example)" when that is who failed. */
static void name_host(const char *host, const char *url, char *to, size_t size)
{
	struct url_origin o;
	size_t n;

	to[0] = '\0';
	append_clean(to, size, host);
	if (!url || url_origin_parse(url, &o) < 0)
		return;
	n = strcspn(host, ":");
	if (host[0] == '[' || strncmp(o.host, host, n) == 0 || strcmp(host, "docker.io") == 0)
		return;
	append_clean(to, size, " (which sends us to ");
	append_clean(to, size, o.host);
	append_clean(to, size, ")");
}

static int fail_local(const char *host, const char *what, const struct transport_reply *reply,
		      int fd)
{
	char link[64], path[1024] = "";
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	if (reply->error == ENOSPC || reply->error == EDQUOT)
		return fail(reply->error,
			    "%s: %s does not fit: no space is left on the file system of %s", host,
			    what, path[0] ? path : "the store");
	return fail(reply->error, "%s: %s cannot be written to %s: %s", host, what,
		    path[0] ? path : "the store", strerror(reply->error));
}

int registry_error_failure(const char *host, const char *what, const char *url,
			   const struct transport_reply *reply, int fd)
{
	char name[600], text[300] = "";

	name_host(host, url, name, sizeof(name));
	append_clean(text, sizeof(text), reply->text);
	switch (reply->failure) {
	case TRANSPORT_UNKNOWN_HOST:
		return fail(EHOSTUNREACH,
			    "%s: this host is not known here (%s): is the name right, and the "
			    "network up?",
			    name, text);
	case TRANSPORT_REFUSED:
		return fail(ECONNREFUSED,
			    "%s: no connection (%s): is the registry running, and the port right?",
			    name, text);
	case TRANSPORT_TIMEOUT:
		return fail(ETIMEDOUT, "%s: no answer in time for %s (%s)", name, what, text);
	case TRANSPORT_NOT_TLS:
		return fail(EPROTO,
			    "%s does not speak TLS (%s): is it a plain-http registry? Then say "
			    "--plain-http",
			    name, text);
	case TRANSPORT_TLS:
		if (strstr(text, "error setting certificate")) /* libcurl's text; its code is that of any handshake */
			return fail(EIO, "%s: no TLS connection: the certificates to trust cannot be read (%s)", name, text);
		return fail(EPROTO,
			    "%s: no TLS connection (%s): is it a plain-http registry? Then say "
			    "--plain-http",
			    name, text);
	case TRANSPORT_CERTIFICATE:
		return fail(EACCES,
			    "%s: its certificate cannot be trusted (%s): put its CA into "
			    "/etc/containers/certs.d/%s/ca.crt, or say --tls-verify=false",
			    name, text, host);
	case TRANSPORT_CUT:
		return fail(EPROTO, "%s: the connection broke off in %s, again and again (%s)",
			    name, what, text);
	case TRANSPORT_PROXY:
		return fail(EHOSTUNREACH,
			    "%s: the proxy does not work (%s): check http_proxy and https_proxy",
			    name, text);
	case TRANSPORT_PROTOCOL:
		return fail(EPROTO, "%s breaks the protocol at %s: %s", name, what, text);
	case TRANSPORT_SIZE:
		return fail(EBADMSG, "%s: the size of %s is wrong: %s", name, what, text);
	case TRANSPORT_LOCAL:
		return fail_local(name, what, reply, fd);
	case TRANSPORT_CANCELLED:
		return -ECANCELED;
	case TRANSPORT_OTHER:
	case TRANSPORT_OK:
		break;
	}
	return fail(EPROTO, "%s: %s: %s", name, what, text);
}

static int fail_too_many(const char *name, const char *what, const struct transport_reply *reply,
			 const char *words)
{
	uint64_t seconds;

	if (http_header_retry_after(reply->retry_after, time(NULL), &seconds) == 0 && seconds)
		return fail(EAGAIN,
			    "%s: too many requests (429) for %s%s: it asks to wait %" PRIu64
			    " seconds; a login may help",
			    name, what, words, seconds);
	return fail(EAGAIN, "%s: too many requests (429) for %s%s: wait a while; a login may help",
		    name, what, words);
}

int registry_error_status(const char *host, const char *what, const char *url,
			  const struct transport_reply *reply, bool logged_in)
{
	char name[600], text[SAID_SIZE], words[SAID_SIZE + 4] = "";

	name_host(host, url, name, sizeof(name));
	if (*said(reply, text))
		snprintf(words, sizeof(words), " (%s)", text);
	if (reply->status == 401 && logged_in)
		return fail(EACCES,
			    "%s: the login is not accepted for %s (401)%s: log in again: podman "
			    "login %s / docker login %s",
			    name, what, words, host, host);
	if (reply->status == 401 || (reply->status == 403 && !logged_in))
		return fail(EACCES,
			    "%s: %s is not for everyone, or does not exist (%d)%s: log in: podman "
			    "login %s / docker login %s",
			    name, what, reply->status, words, host, host);
	if (reply->status == 403)
		return fail(EACCES,
			    "%s: this login may not read %s (403)%s: ask its owner, or log in as "
			    "someone else",
			    name, what, words);
	if (reply->status == 404)
		return fail(ENOENT, "%s: %s is not there (404)%s: check name, tag and digest", name,
			    what, words);
	if (reply->status == 407)
		return fail(EACCES,
			    "%s: the proxy asks for a login (407): say http_proxy=http://USER:PASSWORD@HOST:PORT",
			    name);
	if (reply->status == 429)
		return fail_too_many(name, what, reply, words);
	if (reply->status >= 500)
		return fail(EPROTO,
			    "%s: the registry has a fault of its own (%d) at %s%s: try again later",
			    name, reply->status, what, words);
	return fail(EPROTO, "%s: unexpected status %d for %s%s", name, reply->status, what, words);
}
