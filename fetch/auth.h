/* auth: what goes into the Authorization header of one repository: nothing, Basic, or a token.
 *
 * Nothing is sent before the registry asks (401). A token is kept until it expires, and renewed
 * once when the registry refuses it earlier.
 *
 * Ownership  auth_new() hands over and borrows transport and access; auth_free() wipes and ends it.
 * Units      -
 * Errors     Reported, never with a secret in the text: -EACCES: who we are is not enough, or we
 * are nobody; -EPROTO: a challenge we may not or cannot answer. Network errors as in source.h.
 * Threads    Any; one of them asks for a token, the others wait for it.
 * Source     distribution-spec token flow (distribution/docs/spec/auth/token.md); RFC 7617.
 */
#pragma once

#include "fetch/access.h"
#include "fetch/transport.h"

struct auth;

int auth_new(struct transport *t, const struct access *access, const struct reference *ref,
	     struct auth **ret);
void auth_free(struct auth **a);

struct auth_header {
	char *line; /* "Authorization: ...", or NULL: send none */
	unsigned int generation; /* says later which one was refused */
};
void auth_header_free(struct auth_header *h);

/* A token about to expire is renewed first. `base_url` is the registry's. */
int auth_get(struct auth *a, const char *base_url, struct transport_watch *watch,
	     struct auth_header *ret);

/* A 401 came for `refused`, with these challenges. 1: auth_get() has another header to try; 0:
 * there is none (not reported). */
int auth_challenged(struct auth *a, const char *base_url, const struct auth_header *refused,
		    const char *challenges, struct transport_watch *watch);

/* What the token server of `host` answered: *ret_line goes into requests, for so many seconds. */
int auth_parse_token(const char *host, const void *body, size_t size, char **ret_line, uint64_t *ret_seconds);
