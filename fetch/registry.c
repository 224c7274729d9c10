/* exchange() is the one place where a request is made; it follows redirects, answers challenges and
 * finds out whether a loopback registry speaks TLS. What to retry is for its callers. */
#include "fetch/registry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/report.h"
#include "fetch/auth.h"
#include "fetch/registry_error.h"
#include "fetch/registry_host.h"
#include "fetch/retry.h"
#include "fetch/url.h"

#define SMALL_TIMEOUT_MS 60000u
#define SLOWEST_LINK 64u		/* bytes a millisecond that a range must come at beyond that */
#define TLS_PROBE_TIMEOUT_MS 3000u	/* a plain loopback server may wait for more of what is no HTTP to it */
#define BULK_SIZE (UINT64_C(1) << 20)	/* from here on a transfer gets a connection of its own */
#define CHALLENGES_MAX 3u		/* 401s answered in one request */
#define PROGRESS_SIZE (UINT64_C(1) << 20) /* so much makes the retries count anew */
#define N_TARGETS 32			/* blobs of which we remember where they were redirected to */
#define TARGET_SECONDS 120		/* signed addresses live a few minutes at least */

struct target {
	struct digest digest;
	char *url;
	time_t until;
};

struct registry {
	struct transport *transport;
	struct access *access;
	struct auth *auth;
	char *name; /* "host/repository" */
	char host[LIMIT_REPOSITORY_SIZE + 1];	    /* as the user says it */
	char authority[LIMIT_REPOSITORY_SIZE + 16]; /* whom we connect to */
	char repository[LIMIT_REPOSITORY_SIZE + 1];
	bool loopback;

	pthread_mutex_t lock; /* guards what follows */
	bool plain, tls_known;
	struct target targets[N_TARGETS];
	unsigned int next_target;
};

static int digest_of(enum digest_algorithm algorithm, const void *data, size_t size, struct digest *ret)
{
	_cleanup_(hash_free) struct hash *h = NULL;
	int r = hash_new(algorithm, &h);

	if (r < 0)
		return r;
	hash_update(h, data, size);
	hash_finish(h, ret);
	return 0;
}

/* One thing to be had. */
struct want {
	const char *path;	     /* "manifests/TAG" */
	const char *what;	     /* for messages: "app:tag", "blob sha256:..." */
	const char *const *accept;   /* header lines */
	const struct digest *digest; /* of a blob whose redirect is remembered, or NULL */
	struct transport_request request;
};

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

int registry_open(struct transport *t, const struct reference *ref, struct json_object *access, struct registry **ret)
{
	_cleanup_(registry_free) struct registry *g = calloc(1, sizeof(*g));
	struct url_origin origin;
	char url[sizeof(g->authority) + 16];
	int r;

	if (!g)
		return -ENOMEM;
	pthread_mutex_init(&g->lock, NULL);
	g->transport = t;
	snprintf(g->host, sizeof(g->host), "%s", ref->host);
	snprintf(g->repository, sizeof(g->repository), "%s", ref->repository);
	snprintf(g->authority, sizeof(g->authority), "%s",
		 strcmp(ref->host, "docker.io") == 0 ? "registry-1.docker.io" : ref->host);
	if (asprintf(&g->name, "%s/%s", g->host, g->repository) < 0) {
		g->name = NULL;
		return -ENOMEM;
	}
	snprintf(url, sizeof(url), "https://%s/", g->authority);
	if (url_origin_parse(url, &origin) < 0)
		return fail(EINVAL, "%s: this is no name of a registry host", g->host);
	g->loopback = url_host_is_loopback(origin.host);
	r = access_load(ref, access, &g->access);
	if (r < 0)
		return r;
	g->plain = g->tls_known = g->access->plain_http || (g->loopback && registry_host_is_plain(g->authority));
	r = auth_new(t, g->access, ref, &g->auth);
	if (r == 0)
		*ret = TAKE(g);
	return r;
}

void registry_free(struct registry **g)
{
	struct registry *x = *g;

	if (!x)
		return;
	auth_free(&x->auth);
	access_free(&x->access);
	for (size_t i = 0; i < N_TARGETS; i++)
		free(x->targets[i].url);
	pthread_mutex_destroy(&x->lock);
	free(x->name);
	free(x);
	*g = NULL;
}

const char *registry_name(const struct registry *g)
{
	return g->name;
}

struct transport *registry_transport(const struct registry *g)
{
	return g->transport;
}

static void base_url(struct registry *g, char *to, size_t size)
{
	pthread_mutex_lock(&g->lock);
	snprintf(to, size, "%s://%s", g->plain ? "http" : "https", g->authority);
	pthread_mutex_unlock(&g->lock);
}

/* -- where blobs were redirected to ------------------------------------------------------------ */

static char *find_target(struct registry *g, const struct digest *digest)
{
	char *url = NULL;

	if (!digest)
		return NULL;
	pthread_mutex_lock(&g->lock);
	for (size_t i = 0; i < N_TARGETS; i++)
		if (g->targets[i].url && digest_equal(&g->targets[i].digest, digest) && now() < g->targets[i].until)
			url = strdup(g->targets[i].url);
	pthread_mutex_unlock(&g->lock);
	return url;
}

/* NULL forgets. */
static void keep_target(struct registry *g, const struct digest *digest, const char *url)
{
	struct target *slot = NULL;

	if (!digest)
		return;
	pthread_mutex_lock(&g->lock);
	for (size_t i = 0; i < N_TARGETS; i++)
		if (g->targets[i].url && digest_equal(&g->targets[i].digest, digest))
			slot = &g->targets[i];
	if (!slot && url)
		slot = &g->targets[g->next_target++ % N_TARGETS];
	if (slot) {
		free(slot->url);
		slot->url = url ? strdup(url) : NULL;
		slot->digest = *digest;
		slot->until = now() + TARGET_SECONDS;
	}
	pthread_mutex_unlock(&g->lock);
}

/* -- one request ------------------------------------------------------------------------------- */

static int check_redirect(const struct registry *g, const struct want *w, const char *from, const char *to)
{
	struct url_origin a, b;

	if (url_origin_parse(from, &a) < 0 || url_origin_parse(to, &b) < 0)
		return fail(EPROTO, "%s redirects %s to \"%.200s\", which is no web address", g->host, w->what, to);
	if (a.https && !b.https)
		return fail(EPROTO, "%s redirects %s from https to plain http (%s): refused", g->host, w->what, b.host);
	return 0;
}

/* One request to one address. */
struct hop {
	char base[LIMIT_REPOSITORY_SIZE + 32]; /* the registry's own, as it was then */
	bool own_origin;		       /* the address is the registry's: it may see who we are */
	bool last_401;			       /* a challenge is not answered again */
	struct auth_header auth;
};

static void hop_end(struct hop *h)
{
	auth_header_free(&h->auth);
}

static int send_to(struct registry *g, const struct want *w, const char *url, struct hop *hop,
		   struct transport_reply *reply)
{
	struct transport_request q = w->request;
	struct transport_options options;
	struct url_origin own, o;
	const char *headers[16];
	size_t n = 0;
	int r;

	if (url_origin_parse(hop->base, &own) < 0 || url_origin_parse(url, &o) < 0)
		return fail(EPROTO, "%s: \"%.200s\" is no web address", g->host, url);
	hop->own_origin = url_origin_equal(&own, &o);
	for (size_t i = 0; w->accept && w->accept[i]; i++)
		headers[n++] = w->accept[i];
	if (hop->own_origin) {
		r = auth_get(g->auth, hop->base, q.watch, &hop->auth);
		if (r < 0)
			return r;
		if (hop->auth.line)
			headers[n++] = hop->auth.line;
	}
	headers[n] = NULL;
	access_options(g->access, url, hop->own_origin, &options);
	if (hop->own_origin && g->loopback && own.https && !hop->auth.line)
		q.connect_timeout_ms = TLS_PROBE_TIMEOUT_MS;
	q.url = url;
	q.headers = headers;
	q.options = &options;
	if (q.body)
		q.body->size = 0;
	return transport_call(g->transport, &q, reply);
}

/* A loopback registry that does not speak TLS is asked again in plain http, from now on. */
static bool turns_plain(struct registry *g, const char *base, const struct transport_reply *reply)
{
	bool turns;

	pthread_mutex_lock(&g->lock);
	/* `plain`: another thread has found it out meanwhile. */
	turns = reply->failure == TRANSPORT_NOT_TLS && g->loopback && (g->plain || !g->tls_known) &&
		strncmp(base, "https:", 6) == 0;
	if (turns)
		g->plain = true;
	if (turns || reply->failure == TRANSPORT_OK)
		g->tls_known = true;
	pthread_mutex_unlock(&g->lock);
	if (turns)
		registry_host_set_plain(g->authority);
	return turns;
}

/* What a reply (or its absence) asks us to do next. */
enum next {
	NEXT_DONE,  /* the caller judges it */
	NEXT_AGAIN, /* the same, or *url cleared: from the registry */
};

static int judge(struct registry *g, const struct want *w, const struct hop *hop, char **url,
		 struct transport_reply *reply)
{
	int r;

	if (turns_plain(g, hop->base, reply)) {
		fd_free_memory(url);
		return NEXT_AGAIN;
	}
	if (reply->failure != TRANSPORT_OK)
		return -EIO;
	if (reply->status == 401 && hop->own_origin && !hop->last_401) {
		r = auth_challenged(g->auth, hop->base, &hop->auth, (const char *)reply->challenge.data,
				    w->request.watch);
		return r < 0 ? r : r > 0 ? NEXT_AGAIN : NEXT_DONE;
	}
	if (!reply->redirect)
		return NEXT_DONE;
	r = check_redirect(g, w, *url, reply->redirect);
	if (r < 0)
		return r;
	free(*url);
	*url = TAKE(reply->redirect);
	return NEXT_AGAIN;
}

/* Follows redirects and answers challenges. *url stays the address that answered last. 0: there is
 * a reply, see its status. -EIO: there is none, see reply->failure. All else is reported. */
static int exchange(struct registry *g, const struct want *w, char **url, struct transport_reply *reply)
{
	unsigned int n_401 = 0;
	bool remembered;

	free(*url);
	*url = find_target(g, w->digest);
	remembered = *url;
	for (unsigned int n = 0; n <= LIMIT_REDIRECTS + CHALLENGES_MAX; n++) {
		_cleanup_(hop_end) struct hop hop = {0};
		int r;

		base_url(g, hop.base, sizeof(hop.base));
		if (!*url && asprintf(url, "%s/v2/%s/%s", hop.base, g->repository, w->path) < 0) {
			*url = NULL;
			return -ENOMEM;
		}
		transport_reply_free(reply);
		r = send_to(g, w, *url, &hop, reply);
		if (r < 0 && r != -EIO)
			return r;
		if (remembered && reply->received == 0 && (r < 0 || reply->status / 100 == 4)) {
			keep_target(g, w->digest, NULL); /* a signature that ran out: ask the registry again */
			remembered = false;
			fd_free_memory(url);
			continue;
		}
		hop.last_401 = reply->status == 401 && n_401++ >= CHALLENGES_MAX;
		r = judge(g, w, &hop, url, reply);
		if (r == NEXT_DONE && !hop.own_origin && reply->status / 100 == 2)
			keep_target(g, w->digest, *url);
		if (r != NEXT_AGAIN)
			return r;
	}
	return fail(EPROTO, "%s redirects %s more than %d times", g->host, w->what, LIMIT_REDIRECTS);
}

static bool is_success(const struct want *w, const struct transport_reply *reply)
{
	return reply->status == 200 || (reply->status == 206 && w->request.range_size);
}

static int report(struct registry *g, const struct want *w, const char *url, const struct transport_reply *reply)
{
	if (reply->failure != TRANSPORT_OK)
		return registry_error_failure(g->host, w->what, url, reply, w->request.fd);
	return registry_error_status(g->host, w->what, url, reply, g->access->username || g->access->identity_token);
}

/* A small thing, as a whole, with retries. */
static int get(struct registry *g, const struct want *w, bool patient, struct transport_reply *reply)
{
	_cleanup_(fd_free_memory) char *url = NULL;
	struct retry retry = {.patient = patient};

	for (;;) {
		int r = exchange(g, w, &url, reply);

		if (r < 0 && r != -EIO)
			return r;
		if (r == 0 && is_success(w, reply)) {
			if (reply->received == w->request.range_size || !w->request.range_size)
				return 0;
			/* A part of a range: it may be whole next time. */
			reply->failure = TRANSPORT_CUT;
			snprintf(reply->text, sizeof(reply->text), "only %" PRIu64 " bytes came", reply->received);
		}
		r = retry_wait(&retry, reply, w->request.watch);
		if (r < 0)
			return r;
		if (r == 0)
			return report(g, w, url, reply);
	}
}

/* -- what source.h offers ---------------------------------------------------------------------- */

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
		return fail(EPROTO, "%s: %s came with a malformed Docker-Content-Digest", g->host, what);
	r = digest_of(said.algorithm, body->data, body->size, &is);
	if (r < 0)
		return r;
	if (!digest_equal(&said, &is))
		return fail(EBADMSG, "%s: %s does not match the digest that came with it (%s): damaged on the way?", g->host,
			    what, header);
	return 0;
}

int registry_get_manifest(struct registry *g, const char *tag, const struct digest *digest, struct bytes *ret,
			  char ret_content_type[static 128], struct digest *ret_digest)
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
	snprintf(what, sizeof(what), "%s%c%s", g->repository, digest ? '@' : ':', path + strlen("manifests/"));
	struct want w = {.path = path,
			 .what = what,
			 .accept = accept,
			 .request = {.total = TRANSPORT_UNKNOWN,
				     .timeout_ms = SMALL_TIMEOUT_MS,
				     .body = &body,
				     .body_max = LIMIT_MANIFEST_SIZE,
				     .fd = -1}};

	r = get(g, &w, false, &reply);
	if (r < 0)
		return r;
	r = digest_of(digest ? digest->algorithm : DIGEST_SHA256, body.data, body.size, &is);
	if (r < 0)
		return r;
	if (digest && !digest_equal(digest, &is))
		return fail(EBADMSG, "%s: the manifest that came for %s has another digest", g->host, what);
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

static struct want want_blob(const struct registry *g, const struct descriptor *d, struct blob_name *name)
{
	char text[DIGEST_TEXT_MAX];

	snprintf(name->path, sizeof(name->path), "blobs/%s", digest_text(&d->digest, text));
	snprintf(name->what, sizeof(name->what), "%s's blob %s", g->repository, text);
	return (struct want){.path = name->path,
			     .what = name->what,
			     .digest = &d->digest,
			     .request = {.total = d->size, .timeout_ms = SMALL_TIMEOUT_MS, .fd = -1}};
}

int registry_get_blob(struct registry *g, const struct descriptor *d, size_t max, struct bytes *ret)
{
	_cleanup_(transport_reply_free) struct transport_reply reply = {0};
	_cleanup_(bytes_free) struct bytes body = {0};
	struct blob_name name;
	struct want w = want_blob(g, d, &name);
	struct digest is;
	int r;

	if (d->size > max)
		return fail(EFBIG, "%s: %s has %" PRIu64 " bytes, more than the %zu allowed", g->host, w.what, d->size, max);
	w.request.body = &body;
	w.request.body_max = d->size;
	r = get(g, &w, false, &reply);
	if (r < 0)
		return r;
	if (body.size != d->size)
		return fail(EBADMSG, "%s: %s has %zu bytes, not the %" PRIu64 " of its descriptor", g->host, w.what,
			    body.size, d->size);
	r = digest_of(d->digest.algorithm, body.data, body.size, &is);
	if (r < 0)
		return r;
	if (!digest_equal(&is, &d->digest))
		return fail(EBADMSG, "%s: %s does not match its digest", g->host, w.what);
	r = bytes_terminate(&body);
	if (r < 0)
		return r;
	*ret = body;
	body = (struct bytes){0};
	return 0;
}

int registry_get_range(struct registry *g, const struct descriptor *d, uint64_t off, size_t size, void *out)
{
	_cleanup_(transport_reply_free) struct transport_reply reply = {0};
	struct blob_name name;
	struct want w = want_blob(g, d, &name);

	if (off > d->size || size > d->size - off)
		return fail(EINVAL, "%s: %s has no bytes at %" PRIu64, g->host, w.what, off);
	if (size == 0)
		return 0;
	w.request.range_off = off;
	w.request.range_size = size;
	w.request.out = out;
	w.request.timeout_ms += (unsigned int)(size / SLOWEST_LINK);
	return get(g, &w, true, &reply);
}

/* The server says the blob ends before its descriptor does. */
static int fail_short(struct registry *g, const struct want *w, uint64_t at, uint64_t size)
{
	return fail(EBADMSG, "%s: %s ends after %" PRIu64 " bytes, but its descriptor says %" PRIu64, g->host, w->what, at,
		    size);
}

int registry_stream(struct registry *g, const struct descriptor *d, int fd, uint64_t from,
		    struct transport_watch *watch)
{
	_cleanup_(transport_reply_free) struct transport_reply reply = {0};
	_cleanup_(fd_free_memory) char *url = NULL;
	struct retry retry = {.patient = true};
	struct blob_name name;
	struct want w = want_blob(g, d, &name);
	uint64_t at = from, mark = from;

	w.request.fd = fd;
	w.request.watch = watch;
	w.request.timeout_ms = 0; /* as long as bytes come */
	w.request.bulk = d->size >= BULK_SIZE;
	while (at < d->size) {
		int r;

		w.request.range_off = at;
		w.request.range_size = at ? d->size - at : 0;
		r = exchange(g, &w, &url, &reply);
		if (r < 0 && r != -EIO)
			return r;
		at += reply.received;
		if (at == d->size)
			return 0; /* even when the connection broke just then */
		if (r == 0 && reply.status == 416)
			return fail_short(g, &w, at, d->size);
		if (r == 0 && is_success(&w, &reply)) {
			if (reply.status == 200 && reply.received == 0)
				return fail_short(g, &w, at, d->size);
			reply.failure = TRANSPORT_CUT;
			snprintf(reply.text, sizeof(reply.text), "it ended early, at byte %" PRIu64, at);
		}
		if (at - mark >= PROGRESS_SIZE) {
			retry = (struct retry){.patient = true};
			mark = at;
		}
		r = retry_wait(&retry, &reply, watch);
		if (r < 0)
			return r;
		if (r == 0)
			return report(g, &w, url, &reply);
	}
	return 0;
}
