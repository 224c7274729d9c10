/* access: how one repository's host is reached and who we are there; the "access" object, checked.
 *
 * Ownership  access_load() hands over; access_free() ends it and wipes the secrets.
 * Units      -
 * Errors     Reported: -EINVAL: the object is not as credentials.h says; errno of a certificate
 * file. Threads    Never changes after load. Source     credentials.h; containers-certs.d(5): *.crt
 * are CAs, *.cert and *.key the client's own.
 */
#pragma once

#include <json-c/json_object.h>

#include "base/bytes.h"
#include "fetch/transport.h"
#include "format/reference.h"

struct access {
	bool plain_http;
	bool tls_no_verify;
	struct bytes ca_pem; /* empty: the system's CAs only */
	char *cert_file, *key_file;
	char *http_proxy, *https_proxy, *all_proxy, *no_proxy;
	char *username, *password, *identity_token; /* NULL: none */
};

/* `o` may be NULL: anonymous, and no proxy. */
int access_load(const struct reference *ref, struct json_object *o, struct access **ret);
void access_free(struct access **a);

/* For a request to `url`. The client's own certificate is shown to the registry itself only. */
void access_options(const struct access *a, const char *url, bool own_origin,
		    struct transport_options *ret);
