/* exchange: one request to one repository's registry, whatever it takes: redirects, logins, and
 * finding out whether a loopback registry speaks TLS. What to retry is for the caller.
 *
 * Ownership  exchange_open() hands over and borrows the transport; exchange_free() ends it. What a
 *            want points to is the caller's.
 * Units      Bytes.
 * Errors     Reported, but for -EIO of exchange_run(): there was no reply, see reply->failure.
 * Threads    Any.
 * Source     distribution-spec; RFC 9110, 15.4 (redirects).
 */
#pragma once

#include <json-c/json_object.h>

#include "base/digest.h"
#include "fetch/transport.h"
#include "format/reference.h"

struct exchange;

int exchange_open(struct transport *t, const struct reference *ref, struct json_object *access,
		  struct exchange **ret);
void exchange_free(struct exchange **x);
struct transport *exchange_transport(const struct exchange *x);

#define EXCHANGE_HEADERS 8u

/* One thing to be had, or put. url, options and headers of the request are filled in here. */
struct exchange_want {
	const char *path; /* "manifests/TAG" */
	const char *from_url; /* begin at this address instead; NULL: at the path's */
	const char *what; /* for messages: "app:tag", "blob sha256:..." */
	const char *const *headers; /* lines, NULL-terminated, at most EXCHANGE_HEADERS; or NULL */
	const struct digest *digest; /* of a blob whose redirect is remembered, or NULL */
	struct transport_request request;
};

/* 0: there is a reply, with any status but a redirect. *url (the caller frees it) stays the address
 * that answered last. */
int exchange_run(struct exchange *x, const struct exchange_want *w, char **url,
		 struct transport_reply *reply);

/* Says what was wrong with the last reply, and returns its errno (source.h). */
int exchange_report(const struct exchange *x, const struct exchange_want *w, const char *url,
		    const struct transport_reply *reply);
