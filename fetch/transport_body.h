/* transport_body: one request while it runs on libcurl's thread; what of its reply goes where.
 *
 * Ownership  A struct transport_body lives with the call that waits for it.
 * Units      Bytes.
 * Errors     Kept in reply.failure and reply.text; transport_body_end() settles them.
 * Threads    Only libcurl's thread, but for the watch, which is locked.
 * Source     RFC 9110, 14.2: a server may answer a range with 200 and the whole.
 */
#pragma once

#include <curl/curl.h>
#include <stdatomic.h>

#include "fetch/transport.h"

struct transport_body {
	const struct transport_request *request;
	struct transport_reply *reply;
	CURL *easy;
	struct curl_slist *headers;
	atomic_uint_fast64_t *body_bytes; /* the transport's counter */
	char curl_text[CURL_ERROR_SIZE];

	size_t header_bytes;
	uint64_t sent; /* of the upload */
	char *location, *link; /* these headers, as they came */
	char content_range[128];
	bool head_ended; /* its empty line was seen: before, a connection that ends cuts the reply */
	bool begun; /* the first byte of the body was seen */
	bool good; /* 200 or 206: the body is what was asked for */
	bool satisfied; /* all that was asked for is there; the rest is cut off */
	uint64_t skip; /* bytes to pass over first: 200 for a range */
	uint64_t room; /* bytes that may still come */
	uint64_t told; /* of `received`, to those who follow the watch */
};

/* Makes the easy handle with everything the request says. -ENOMEM. */
int transport_body_begin(struct transport_body *b);

/* The transfer ended: fills in the reply. Frees what begin made. */
void transport_body_end(struct transport_body *b, CURLcode code);

/* Wakes those who follow the watch, when there is news. */
void transport_body_tell(struct transport_body *b);
