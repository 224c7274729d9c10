/* transport: the one thread that touches libcurl; others post a request and wait for its reply.
 *
 * A reply's body goes where the request says (memory, or a file at an offset) and never past what was asked for.
 * Redirects, authentication and retries are the callers' (registry, auth).
 *
 * Ownership  transport_new() hands over; transport_free() ends it, after every call has returned.
 *            Whatever a request points to belongs to the caller until transport_call() returns.
 * Units      Bytes; milliseconds where the name says so.
 * Errors     transport_call() returns 0 when there is a reply with an HTTP status, whatever it is; else -EIO with
 *            reply.failure and reply.text, bare: the caller knows whom it asked. -ENOMEM, -ECANCELED.
 * Threads    Any thread calls; the calling thread sleeps meanwhile. A thread of its own starts with
 *            the first request.
 * Source     libcurl multi interface; RFC 9110 (ranges: section 14).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "fetch/transport_watch.h"

struct transport;

enum transport_failure {
	TRANSPORT_OK,
	TRANSPORT_UNKNOWN_HOST,
	TRANSPORT_REFUSED, /* or unreachable: no connection */
	TRANSPORT_TIMEOUT,
	TRANSPORT_NOT_TLS, /* connected, but the other side does not speak TLS */
	TRANSPORT_TLS, /* a handshake that failed otherwise */
	TRANSPORT_CERTIFICATE, /* not to be trusted */
	TRANSPORT_CUT, /* the connection ended in the middle */
	TRANSPORT_PROXY,
	TRANSPORT_PROTOCOL, /* headers too large, a range that was not asked for, not HTTP */
	TRANSPORT_SIZE, /* the body is not as long as `total` says, or longer than allowed */
	TRANSPORT_LOCAL, /* writing to the file failed: reply.error */
	TRANSPORT_CANCELLED,
	TRANSPORT_OTHER,
};

/* How a host is reached. Texts may be NULL. */
struct transport_options {
	bool tls_no_verify;
	const void *ca_pem; /* trusted besides the system's */
	size_t ca_pem_size;
	const char *cert_file, *key_file; /* the client's own */
	const char *proxy; /* NULL: none; the environment is never looked at */
	const char *no_proxy;
};

/* Ends what runs under this watch: calls return -ECANCELED, sleeps end. */
void transport_cancel(struct transport *t, struct transport_watch *w);

/* Sleeps, unless cancelled (-ECANCELED). `w` may be NULL. */
int transport_sleep(struct transport_watch *w, unsigned int ms);

#define TRANSPORT_UNKNOWN UINT64_MAX

/* What is sent: from memory, or from a file. */
struct transport_upload {
	const void *data; /* NULL: from fd */
	int fd;
	uint64_t off, size; /* in the file, or in memory */
};

struct transport_request {
	const char *url;
	const struct transport_options *options;
	const char *const *headers; /* whole lines, NULL-terminated; may be NULL */
	const char *method; /* "HEAD", "POST", "PUT"; NULL: GET */
	const char *form; /* POST this (application/x-www-form-urlencoded) */
	const struct transport_upload *upload; /* the body of a PUT; NULL: none */
	uint64_t range_off;
	uint64_t range_size; /* 0: the whole body, no Range header */
	uint64_t total; /* how long the resource must be, or TRANSPORT_UNKNOWN */
	bool bulk; /* long: a connection of its own, a large buffer; queued when there are many from its host */
	unsigned int connect_timeout_ms, timeout_ms; /* 0: 15 s; none */
	/* Where the body of a 200 or 206 goes; one of these. */
	struct bytes *body; /* at most body_max bytes */
	size_t body_max;
	void *out; /* exactly range_size bytes at most */
	int fd; /* -1: none; else by pwrite at range_off; a 200 for a range from 0 on is kept whole */
	const struct transport_follow *follow; /* NULL, or told of what comes */
	struct transport_watch *watch; /* NULL, or its position follows an fd */
};

struct transport_reply {
	enum transport_failure failure;
	char text[256]; /* of the failure */
	int error; /* positive errno of TRANSPORT_LOCAL */
	int status;
	bool no_handshake; /* TRANSPORT_TIMEOUT: connected, but no word of TLS came */
	uint64_t received; /* bytes that went where the request said */
	uint64_t length; /* Content-Length, or TRANSPORT_UNKNOWN */
	char content_type[128];
	char content_digest[192]; /* Docker-Content-Digest */
	char retry_after[64];
	bool subject_known; /* OCI-Subject came: the registry lists what was put among its referrers */
	char *redirect; /* absolute, of a 3xx, or NULL */
	char *location; /* absolute, of a 2xx, or NULL: where an upload goes on */
	char *next; /* absolute, of Link: rel="next", or NULL */
	struct bytes challenge; /* WWW-Authenticate, one a line, terminated; may be empty */
	struct bytes error_body; /* of any other status, cut at LIMIT_ERROR_BODY_SIZE, terminated */
};

void transport_reply_free(struct transport_reply *r);

int transport_new(struct transport **ret);
void transport_free(struct transport **t);

int transport_call(struct transport *t, const struct transport_request *request,
		   struct transport_reply *ret);

struct transport_counters {
	uint64_t requests;
	uint64_t body_bytes;
};
void transport_counters(struct transport *t, struct transport_counters *ret);
