/* credentials: what the *command* reads as its user has it and sends with its request.
 *
 * The "access" object:
 *   {"plain_http": bool, "tls_verify": bool, "ca_file": "/path"?, "certs_dir": "/path"?,
 *    "auths": {"<host>[/<path>]": {"username": "", "password": ""} | {"identity_token": ""}},
 *    "proxy": {"http_proxy": "", "https_proxy": "", "all_proxy": "", "no_proxy": ""}}
 * Only what this reference can need is sent: at most one entry of auths, by the longest path that the
 * repository lies under; its key begins with reference.host. Paths are absolute. Never logged.
 *
 * Looked at in this order, the first that has credentials counts: --creds; --authfile alone;
 * $REGISTRY_AUTH_FILE alone; $XDG_RUNTIME_DIR/containers/auth.json (/run/containers/<uid>/auth.json);
 * $XDG_CONFIG_HOME/containers/auth.json (~/.config); $DOCKER_CONFIG/config.json (~/.docker). In each
 * file: its credHelpers, its auths, its credsStore.
 *
 * Ownership  credentials_access() hands over a json-c object.
 * Units      -
 * Errors     Reported: a file that is there but unreadable or not JSON, a helper of credHelpers that is
 *            missing or fails. A missing file is no error, unless --authfile names it.
 * Threads    Any. It may run a helper program and then takes up to its 30 s, so ask only when a request
 *            will really be sent.
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
