/* What is asked for, what counts as whole, and how long to go on trying. */
#include "fetch/registry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/report.h"
#include "fetch/exchange.h"
#include "fetch/retry.h"

#define SMALL_TIMEOUT_MS 60000u
#define SLOWEST_LINK 64u /* bytes a millisecond that a range must come at beyond that */
#define BULK_SIZE (UINT64_C(1) << 20) /* from here on a transfer gets a connection of its own */
#define ONCE_CONNECT_MS 3000u
#define ONCE_TIMEOUT_MS 5000u
#define DOWN_MS 30000 /* so long a host that could not be reached is asked last */
#define PROGRESS_SIZE (UINT64_C(1) << 20) /* so much makes the retries count anew */

struct registry {
	struct exchange *exchange;
	char *name; /* "host/repository" */
	char host[LIMIT_REPOSITORY_SIZE + 1];
	char repository[LIMIT_REPOSITORY_SIZE + 1];
	_Atomic int64_t down_until, worked; /* clock_ms() */
	atomic_bool has_referrers; /* the API was seen to work */
};

int registry_open(struct transport *t, const struct reference *ref, struct json_object *access,
		  struct registry **ret)
{
	_cleanup_(registry_free) struct registry *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	snprintf(g->host, sizeof(g->host), "%s", ref->host);
	snprintf(g->repository, sizeof(g->repository), "%s", ref->repository);
	if (asprintf(&g->name, "%s/%s", g->host, g->repository) < 0) {
		g->name = NULL;
		return -ENOMEM;
	}
	r = exchange_open(t, ref, access, &g->exchange);
	if (r == 0)
		*ret = TAKE(g);
	return r;
}

void registry_free(struct registry **g)
{
	if (!*g)
		return;
	exchange_free(&(*g)->exchange);
	free((*g)->name);
	free(*g);
	*g = NULL;
}

const char *registry_name(const struct registry *g)
{
	return g->name;
}

struct transport *registry_transport(const struct registry *g)
{
	return exchange_transport(g->exchange);
}

static int digest_of(enum digest_algorithm algorithm, const void *data, size_t size,
		     struct digest *ret)
{
	_cleanup_(hash_free) struct hash *h = NULL;
	int r = hash_new(algorithm, &h);

	if (r < 0)
		return r;
	hash_update(h, data, size);
	hash_finish(h, ret);
	return 0;
}

static bool is_success(const struct exchange_want *w, const struct transport_reply *reply)
{
	return reply->status == 200 || (reply->status == 206 && w->request.range_size);
}

bool registry_has_referrers(const struct registry *g)
{
	return atomic_load(&g->has_referrers);
}

void registry_set_has_referrers(struct registry *g)
{
	atomic_store(&g->has_referrers, true);
}

bool registry_is_down(const struct registry *g)
{
	return clock_ms() < atomic_load(&g->down_until);
}

int64_t registry_worked(const struct registry *g)
{
	return atomic_load(&g->worked);
}

static void note_state(struct registry *g, const struct transport_reply *reply)
{
	switch (reply->failure) {
	case TRANSPORT_UNKNOWN_HOST:
	case TRANSPORT_REFUSED:
	case TRANSPORT_TIMEOUT:
	case TRANSPORT_PROXY:
		atomic_store(&g->down_until, clock_ms() + DOWN_MS);
		break;
	case TRANSPORT_OK:
		atomic_store(&g->down_until, 0);
		break;
	case TRANSPORT_NOT_TLS:
	case TRANSPORT_TLS:
	case TRANSPORT_CERTIFICATE:
	case TRANSPORT_CUT:
	case TRANSPORT_PROTOCOL:
	case TRANSPORT_SIZE:
	case TRANSPORT_LOCAL:
	case TRANSPORT_CANCELLED:
	case TRANSPORT_OTHER:
		break;
	}
}

/* A small thing, as a whole. */
static int get(struct registry *g, const struct exchange_want *w, enum registry_patience patience,
	       struct transport_reply *reply)
{
	_cleanup_(fd_free_memory) char *url = NULL;
	struct retry retry;

	retry_begin(&retry, patience == REGISTRY_WAIT);
	for (;;) {
		int r = exchange_run(g->exchange, w, &url, reply);

		if (r < 0 && r != -EIO)
			return r;
		note_state(g, reply);
		if (r == 0 && is_success(w, reply)) {
			atomic_store(&g->worked, clock_ms());
			if (reply->received == w->request.range_size || !w->request.range_size)
				return 0;
			/* A part of a range: it may be whole next time. */
			reply->failure = TRANSPORT_CUT;
			snprintf(reply->text, sizeof(reply->text), "only %" PRIu64 " bytes came",
				 reply->received);
		}
		r = patience == REGISTRY_ONCE ? 0 : retry_wait(&retry, reply, w->request.watch);
		if (r < 0)
			return r;
		if (r == 0)
			return exchange_report(g->exchange, w, url, reply);
	}
}

int registry_ask(struct registry *g, const struct exchange_want *w, char **url, struct transport_reply *reply)
{
	struct retry retry;

	retry_begin(&retry, false);
	for (;;) {
		int again, r = exchange_run(g->exchange, w, url, reply);

		if ((r < 0 && r != -EIO) || (r == 0 && reply->status / 100 == 2))
			return r;
		again = retry_wait(&retry, reply, w->request.watch);
		if (again < 0)
			return again;
		if (again == 0)
			return r == 0 ? 0 : exchange_report(g->exchange, w, *url, reply);
	}
}

int registry_ask_once(struct registry *g, const struct exchange_want *w, char **url, struct transport_reply *reply)
{
	return exchange_run(g->exchange, w, url, reply);
}

int registry_report(struct registry *g, const struct exchange_want *w, const char *url,
		    const struct transport_reply *reply)
{
	return exchange_report(g->exchange, w, url, reply);
}

/* A small thing that must have this digest (NULL: any) is asked for once more when it has not:
 * the caller judges the last answer. */
static int get_verified(struct registry *g, const struct exchange_want *w, const struct digest *digest, size_t size,
			struct transport_reply *reply, struct digest *ret)
{
	struct bytes *body = w->request.body;

	for (unsigned int tries = 0;; tries++) {
		int r = get(g, w, REGISTRY_RETRY, reply);

		if (r == 0)
			r = digest_of(digest ? digest->algorithm : DIGEST_SHA256, body->data, body->size, ret);
		if (r < 0 || !digest || digest_equal(digest, ret) || tries > 0 || (size && body->size != size))
			return r;
	}
}

/* The header is a hint of the server's about its own bytes; where it is there, it must be true. */
static int check_content_digest(const struct registry *g, const char *what, const char *header,
				const struct bytes *body)
{
	struct digest said, is;
	int r;

	if (!*header)
		return 0;
	r = digest_parse(header, strlen(header), &said);
	if (r == -EOPNOTSUPP)
		return 0;
	if (r < 0)
		return fail(EPROTO, "%s: %s came with a malformed Docker-Content-Digest", g->host,
			    what);
	r = digest_of(said.algorithm, body->data, body->size, &is);
	if (r < 0)
		return r;
	if (!digest_equal(&said, &is))
		return fail(EBADMSG,
			    "%s: %s does not match the digest that came with it (%s): damaged on "
			    "the way?",
			    g->host, what, header);
	return 0;
}

int registry_get_manifest(struct registry *g, const char *tag, const struct digest *digest,
			  struct bytes *ret, char ret_content_type[static 128],
			  struct digest *ret_digest)
{
	static const char *const accept[] = {
		"Accept: application/vnd.oci.image.index.v1+json",
		"Accept: application/vnd.docker.distribution.manifest.list.v2+json",
		"Accept: application/vnd.oci.image.manifest.v1+json",
		"Accept: application/vnd.docker.distribution.manifest.v2+json",
		"Accept: */*;q=0.1",
		NULL,
	};
	_cleanup_(transport_reply_free) struct transport_reply reply = {0};
	_cleanup_(bytes_free) struct bytes body = {0};
	char text[DIGEST_TEXT_MAX], path[256], what[512];
	struct digest is;
	int r;

	snprintf(path, sizeof(path), "manifests/%s", digest ? digest_text(digest, text) : tag);
	snprintf(what, sizeof(what), "%s%c%s", g->repository, digest ? '@' : ':',
		 path + strlen("manifests/"));
	struct exchange_want w = {.path = path,
				  .what = what,
				  .headers = accept,
				  .request = {.total = TRANSPORT_UNKNOWN,
					      .timeout_ms = SMALL_TIMEOUT_MS,
					      .body = &body,
					      .body_max = LIMIT_MANIFEST_SIZE,
					      .fd = -1}};

	r = get_verified(g, &w, digest, 0, &reply, &is);
	if (r < 0)
		return r;
	if (digest && !digest_equal(digest, &is))
		return fail(EBADMSG, "%s: the manifest that came for %s has another digest",
			    g->host, what);
	r = check_content_digest(g, what, reply.content_digest, &body);
	if (r == 0)
		r = bytes_terminate(&body);
	if (r < 0)
		return r;
	snprintf(ret_content_type, 128, "%s", reply.content_type);
	*ret_digest = is;
	*ret = body;
	body = (struct bytes){0};
	return 0;
}

struct blob_name {
	char path[8 + DIGEST_TEXT_MAX], what[LIMIT_REPOSITORY_SIZE + 16 + DIGEST_TEXT_MAX];
};

static struct exchange_want want_blob(const struct registry *g, const struct descriptor *d,
				      struct blob_name *name)
{
	char text[DIGEST_TEXT_MAX];

	snprintf(name->path, sizeof(name->path), "blobs/%s", digest_text(&d->digest, text));
	snprintf(name->what, sizeof(name->what), "%s's blob %s", g->repository, text);
	return (struct exchange_want){
		.path = name->path,
		.what = name->what,
		.digest = &d->digest,
		.request = {.total = d->size, .timeout_ms = SMALL_TIMEOUT_MS, .fd = -1}};
}

int registry_get_blob(struct registry *g, const struct descriptor *d, size_t max, struct bytes *ret)
{
	_cleanup_(transport_reply_free) struct transport_reply reply = {0};
	_cleanup_(bytes_free) struct bytes body = {0};
	struct blob_name name;
	struct exchange_want w = want_blob(g, d, &name);
	struct digest is;
	int r;

	if (d->size > max)
		return fail(EFBIG, "%s: %s has %" PRIu64 " bytes, more than the %zu allowed",
			    g->host, w.what, d->size, max);
	w.request.body = &body;
	w.request.body_max = d->size;
	r = get_verified(g, &w, &d->digest, d->size, &reply, &is);
	if (r < 0)
		return r;
	if (body.size != d->size)
		return fail(EBADMSG, "%s: %s has %zu bytes, not the %" PRIu64 " of its descriptor",
			    g->host, w.what, body.size, d->size);
	if (!digest_equal(&is, &d->digest))
		return fail(EBADMSG, "%s: %s does not match its digest", g->host, w.what);
	r = bytes_terminate(&body);
	if (r < 0)
		return r;
	*ret = body;
	body = (struct bytes){0};
	return 0;
}

int registry_get_range(struct registry *g, const struct descriptor *d, uint64_t off, size_t size,
		       enum registry_patience patience, const struct transport_follow *follow, void *out)
{
	_cleanup_(transport_reply_free) struct transport_reply reply = {0};
	struct blob_name name;
	struct exchange_want w = want_blob(g, d, &name);

	if (off > d->size || size > d->size - off)
		return fail(EINVAL, "%s: %s has no bytes at %" PRIu64, g->host, w.what, off);
	if (size == 0)
		return 0;
	w.request.range_off = off;
	w.request.range_size = size;
	w.request.out = out;
	w.request.follow = follow;
	w.request.timeout_ms += (unsigned int)(size / SLOWEST_LINK);
	if (patience == REGISTRY_ONCE) {
		w.request.connect_timeout_ms = ONCE_CONNECT_MS;
		w.request.timeout_ms -= SMALL_TIMEOUT_MS - ONCE_TIMEOUT_MS;
	}
	return get(g, &w, patience, &reply);
}

/* The server says the blob ends before its descriptor does. */
static int fail_short(struct registry *g, const struct exchange_want *w, uint64_t at, uint64_t size)
{
	return fail(EBADMSG,
		    "%s: %s ends after %" PRIu64 " bytes, but its descriptor says %" PRIu64,
		    g->host, w->what, at, size);
}

int registry_get_piece(struct registry *g, const struct descriptor *d, uint64_t off, size_t size,
		       struct transport_watch *watch, void *out)
{
	_cleanup_(transport_reply_free) struct transport_reply reply = {0};
	struct blob_name name;
	struct exchange_want w = want_blob(g, d, &name);

	w.request.range_off = off;
	w.request.range_size = size;
	w.request.out = out;
	w.request.watch = watch;
	w.request.bulk = true;
	w.request.timeout_ms += (unsigned int)(size / SLOWEST_LINK);
	return get(g, &w, REGISTRY_WAIT, &reply);
}

int registry_stream(struct registry *g, const struct descriptor *d, int fd, uint64_t *at, uint64_t to,
		    struct transport_watch *watch)
{
	_cleanup_(transport_reply_free) struct transport_reply reply = {0};
	_cleanup_(fd_free_memory) char *url = NULL;
	struct retry retry;
	struct blob_name name;
	struct exchange_want w = want_blob(g, d, &name);
	uint64_t mark = *at;

	w.request.fd = fd;
	w.request.watch = watch;
	w.request.timeout_ms = 0; /* as long as bytes come */
	w.request.bulk = d->size >= BULK_SIZE;
	retry_begin(&retry, true);
	while (*at < to) {
		int r;

		w.request.range_off = *at;
		w.request.range_size = *at || to < d->size ? to - *at : 0;
		r = exchange_run(g->exchange, &w, &url, &reply);
		if (r < 0 && r != -EIO)
			return r;
		*at += reply.received;
		if (reply.received)
			atomic_store(&g->worked, clock_ms());
		if (*at >= to)
			return 0; /* even when the connection broke just then */
		if (r == 0 && reply.status == 416)
			return fail_short(g, &w, *at, d->size);
		if (r == 0 && is_success(&w, &reply)) {
			if (reply.status == 200 && reply.received == 0)
				return fail_short(g, &w, *at, d->size);
			reply.failure = TRANSPORT_CUT;
			snprintf(reply.text, sizeof(reply.text), "it ended early, at byte %" PRIu64,
				 *at);
		}
		if (*at - mark >= PROGRESS_SIZE) {
			retry_begin(&retry, true);
			mark = *at;
		}
		r = retry_wait(&retry, &reply, watch);
		if (r < 0)
			return r;
		if (r == 0)
			return exchange_report(g->exchange, &w, url, &reply);
	}
	return 0;
}
