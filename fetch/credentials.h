/* credentials: what the *command* reads as its user has it and sends with its request.
 *
 * The "access" object:
 *   {"plain_http": bool, "tls_verify": bool, "ca_file": "/path"?, "certs_dir": "/path"?,
 *    "auths": {"<host>[/<path>]": {"username": "", "password": ""} | {"identity_token": ""}},
 *    "proxy": {"http_proxy": "", "https_proxy": "", "all_proxy": "", "no_proxy": ""}}
 * Only what this reference can need is sent. Never logged.
 *
 * Ownership  credentials_access() hands over a json-c object.
 * Units      -
 * Errors     Reported: a file that is there but unreadable or not JSON. A missing file is no error.
 * Threads    Any.
 * Source     containers-auth.json(5); docker's config.json and credential helper protocol.
 */
#pragma once

#include <stdbool.h>

#include <json-c/json_object.h>

#include "format/reference.h"

struct credentials_options {
	const char *authfile; /* --authfile, or NULL */
	const char *creds;    /* --creds user:password, or NULL */
	bool plain_http;      /* --plain-http */
	bool tls_no_verify;   /* --tls-verify=false */
};

int credentials_access(const struct reference *ref, const struct credentials_options *options, struct json_object **ret);
