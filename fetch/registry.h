/* registry: one repository of one registry: requests, redirects, logins, retries.
 *
 * Ownership  registry_open() hands over and borrows the transport; registry_free() ends it.
 * Units      Bytes.
 * Errors     As in source.h, reported.
 * Threads    Any.
 * Source     distribution-spec "Pull"; shared REGISTRY.md section 2.
 */
#pragma once

#include "fetch/access.h"
#include "fetch/exchange.h"
#include "format/manifest.h"

struct registry;

enum registry_patience {
	REGISTRY_ONCE,	/* somebody else may have it */
	REGISTRY_RETRY, /* what passes by itself */
	REGISTRY_WAIT,	/* also for a host that refuses or has no name now: something hangs on it */
};

int registry_open(struct transport *t, const struct reference *ref, struct json_object *access,
		  struct registry **ret);
void registry_free(struct registry **g);
const char *registry_name(const struct registry *g);
struct transport *registry_transport(const struct registry *g);

/* Any request of this repository's, with retries. 0: there is a reply, whatever its status, from `*url` (the caller
 * frees it); the caller judges it, and registry_report() says what was wrong with it. */
int registry_ask(struct registry *g, const struct exchange_want *w, char **url, struct transport_reply *reply);
int registry_report(struct registry *g, const struct exchange_want *w, const char *url,
		    const struct transport_reply *reply);

/* The same once, without retries: 0, or -EIO (bare) when there was no reply. */
int registry_ask_once(struct registry *g, const struct exchange_want *w, char **url, struct transport_reply *reply);

/* See source.h. */
int registry_get_manifest(struct registry *g, const char *tag, const struct digest *digest,
			  struct bytes *ret, char ret_content_type[static 128],
			  struct digest *ret_digest);
int registry_get_blob(struct registry *g, const struct descriptor *d, size_t max,
		      struct bytes *ret);
int registry_get_range(struct registry *g, const struct descriptor *d, uint64_t off, size_t size,
		       enum registry_patience patience, const struct transport_follow *follow, void *out);
bool registry_is_down(const struct registry *g);
/* When it last gave what it was asked for, as clock_ms(); 0: never. */
int64_t registry_worked(const struct registry *g);

/* Whether it was seen to have the referrers API. */
bool registry_has_referrers(const struct registry *g);
void registry_set_has_referrers(struct registry *g);

/* Writes bytes [*at, to) of the blob to the same place in fd, with retries and resume. *at and watch->position follow;
 * cancelling it ends the call with -ECANCELED. From a server that knows no ranges all of it comes, also behind `to`. */
int registry_stream(struct registry *g, const struct descriptor *d, int fd, uint64_t *at, uint64_t to,
		    struct transport_watch *watch);

/* As registry_get_range() with patience, until `watch` is cancelled. */
int registry_get_piece(struct registry *g, const struct descriptor *d, uint64_t off, size_t size,
		       struct transport_watch *watch, void *out);
