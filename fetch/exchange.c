/* Who we are is shown to the registry's own origin only; everything else follows from replies. */
#include "fetch/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "fetch/auth.h"
#include "fetch/registry_error.h"
#include "fetch/registry_host.h"
#include "fetch/url.h"

#define TLS_PROBE_TIMEOUT_MS                                                                       \
	3000u /* a plain loopback server may wait for more of what is no HTTP to it */
#define CHALLENGES_MAX 3u /* 401s answered in one request */
#define N_TARGETS 32 /* blobs of which we remember where they were redirected to */
#define TARGET_SECONDS 120 /* signed addresses live a few minutes at least */

struct target {
	struct digest digest;
	char *url;
	time_t until;
};

struct exchange {
	struct transport *transport;
	struct access *access;
	struct auth *auth;
	char host[LIMIT_REPOSITORY_SIZE + 1]; /* as the user says it */
	char authority[LIMIT_REPOSITORY_SIZE + 16]; /* whom we connect to */
	char repository[LIMIT_REPOSITORY_SIZE + 1];
	bool loopback;

	pthread_mutex_t lock; /* guards what follows */
	bool plain, tls_known;
	struct target targets[N_TARGETS];
	unsigned int next_target;
};

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

int exchange_open(struct transport *t, const struct reference *ref, struct json_object *access,
		  struct exchange **ret)
{
	_cleanup_(exchange_free) struct exchange *x = calloc(1, sizeof(*x));
	struct url_origin origin;
	char url[sizeof(x->authority) + 16];
	int r;

	if (!x)
		return -ENOMEM;
	pthread_mutex_init(&x->lock, NULL);
	x->transport = t;
	snprintf(x->host, sizeof(x->host), "%s", ref->host);
	snprintf(x->repository, sizeof(x->repository), "%s", ref->repository);
	snprintf(x->authority, sizeof(x->authority), "%s",
		 strcmp(ref->host, "docker.io") == 0 ? "registry-1.docker.io" : ref->host);
	snprintf(url, sizeof(url), "https://%s/", x->authority);
	if (url_origin_parse(url, &origin) < 0)
		return fail(EINVAL, "%s: this is no name of a registry host", x->host);
	x->loopback = url_host_is_loopback(origin.host);
	r = access_load(ref, access, &x->access);
	if (r < 0)
		return r;
	x->plain = x->access->plain_http || (x->loopback && registry_host_is_plain(x->authority));
	r = auth_new(t, x->access, ref, &x->auth);
	if (r == 0)
		*ret = TAKE(x);
	return r;
}

void exchange_free(struct exchange **x)
{
	struct exchange *e = *x;

	if (!e)
		return;
	auth_free(&e->auth);
	access_free(&e->access);
	for (size_t i = 0; i < N_TARGETS; i++)
		free(e->targets[i].url);
	pthread_mutex_destroy(&e->lock);
	free(e);
	*x = NULL;
}

struct transport *exchange_transport(const struct exchange *x)
{
	return x->transport;
}

static void base_url(struct exchange *x, char *to, size_t size)
{
	pthread_mutex_lock(&x->lock);
	snprintf(to, size, "%s://%s", x->plain ? "http" : "https", x->authority);
	pthread_mutex_unlock(&x->lock);
}

static char *find_target(struct exchange *x, const struct digest *digest)
{
	char *url = NULL;

	if (!digest)
		return NULL;
	pthread_mutex_lock(&x->lock);
	for (size_t i = 0; i < N_TARGETS; i++)
		if (x->targets[i].url && digest_equal(&x->targets[i].digest, digest) &&
		    now() < x->targets[i].until)
			url = strdup(x->targets[i].url);
	pthread_mutex_unlock(&x->lock);
	return url;
}

/* NULL forgets. */
static void keep_target(struct exchange *x, const struct digest *digest, const char *url)
{
	struct target *slot = NULL;

	if (!digest)
		return;
	pthread_mutex_lock(&x->lock);
	for (size_t i = 0; i < N_TARGETS; i++)
		if (x->targets[i].url && digest_equal(&x->targets[i].digest, digest))
			slot = &x->targets[i];
	if (!slot && url)
		slot = &x->targets[x->next_target++ % N_TARGETS];
	if (slot) {
		free(slot->url);
		slot->url = url ? strdup(url) : NULL;
		slot->digest = *digest;
		slot->until = now() + TARGET_SECONDS;
	}
	pthread_mutex_unlock(&x->lock);
}

static int check_redirect(const struct exchange *x, const struct exchange_want *w, const char *from,
			  const char *to)
{
	struct url_origin a, b;

	if (url_origin_parse(from, &a) < 0 || url_origin_parse(to, &b) < 0)
		return fail(EPROTO, "%s redirects %s to \"%.200s\", which is no web address",
			    x->host, w->what, to);
	if (a.https && !b.https)
		return fail(EPROTO, "%s redirects %s from https to plain http (%s): refused",
			    x->host, w->what, b.host);
	return 0;
}

/* One request to one address. */
struct hop {
	char base[LIMIT_REPOSITORY_SIZE + 32]; /* the registry's own, as it was then */
	bool own_origin; /* the address is the registry's: it may see who we are */
	bool last_401; /* a challenge is not answered again */
	struct auth_header auth;
};

static void hop_end(struct hop *h)
{
	auth_header_free(&h->auth);
}

static int send_to(struct exchange *x, const struct exchange_want *w, const char *url,
		   struct hop *hop, struct transport_reply *reply)
{
	struct transport_request q = w->request;
	struct transport_options options;
	struct url_origin own, o;
	const char *headers[EXCHANGE_HEADERS + 2];
	size_t n = 0;
	int r;

	if (url_origin_parse(hop->base, &own) < 0 || url_origin_parse(url, &o) < 0)
		return fail(EPROTO, "%s: \"%.200s\" is no web address", x->host, url);
	hop->own_origin = url_origin_equal(&own, &o);
	for (size_t i = 0; w->headers && w->headers[i] && i < EXCHANGE_HEADERS; i++)
		headers[n++] = w->headers[i];
	if (hop->own_origin) {
		r = auth_get(x->auth, hop->base, q.watch, &hop->auth);
		if (r < 0)
			return r;
		if (hop->auth.line)
			headers[n++] = hop->auth.line;
	}
	headers[n] = NULL;
	access_options(x->access, url, hop->own_origin, &options);
	if (hop->own_origin && x->loopback && own.https && !hop->auth.line)
		q.connect_timeout_ms = TLS_PROBE_TIMEOUT_MS;
	q.url = url;
	q.headers = headers;
	q.options = &options;
	if (q.body)
		q.body->size = 0;
	return transport_call(x->transport, &q, reply);
}

/* Finds out what a loopback registry speaks. True: ask again, in plain http. A guess is believed,
 * by other images too, once a reply has come; 400 is what TLS servers say to plain http. */
static bool turns_plain(struct exchange *x, const struct hop *hop,
			const struct transport_reply *reply)
{
	bool tls = strncmp(hop->base, "https:", 6) == 0, turns = false;

	if (!x->loopback || !hop->own_origin || x->access->plain_http)
		return false;
	pthread_mutex_lock(&x->lock);
	if (tls && reply->failure == TRANSPORT_OK)
		x->tls_known = true;
	else if (tls && !x->tls_known &&
		 (reply->failure == TRANSPORT_NOT_TLS || reply->no_handshake))
		x->plain = turns = true;
	else if (!tls && (reply->failure != TRANSPORT_OK || reply->status == 400))
		x->plain = false;
	pthread_mutex_unlock(&x->lock);
	if (!tls)
		registry_host_set_plain(x->authority,
					reply->failure == TRANSPORT_OK && reply->status != 400);
	return turns;
}

/* What a reply (or its absence) asks us to do next. */
enum next {
	NEXT_DONE, /* the caller judges it */
	NEXT_AGAIN, /* the same, or *url cleared: from the registry */
};

static int judge(struct exchange *x, const struct exchange_want *w, const struct hop *hop,
		 char **url, struct transport_reply *reply)
{
	int r;

	if (turns_plain(x, hop, reply)) {
		fd_free_memory(url);
		return NEXT_AGAIN;
	}
	if (reply->failure != TRANSPORT_OK)
		return -EIO;
	if (reply->status == 401 && hop->own_origin && !hop->last_401) {
		r = auth_challenged(x->auth, hop->base, &hop->auth,
				    (const char *)reply->challenge.data, w->request.watch);
		return r < 0 ? r : r > 0 ? NEXT_AGAIN : NEXT_DONE;
	}
	if (!reply->redirect)
		return NEXT_DONE;
	if (w->request.method && reply->status != 307 && reply->status != 308)
		return fail(EPROTO, "%s redirects %s with status %d, which may not be followed for %s", x->host, w->what,
			    reply->status, w->request.method);
	r = check_redirect(x, w, *url, reply->redirect);
	if (r < 0)
		return r;
	free(*url);
	*url = TAKE(reply->redirect);
	return NEXT_AGAIN;
}

static int first_url(const struct exchange *x, const struct exchange_want *w, const char *base, char **ret)
{
	if (w->from_url) {
		int r = check_redirect(x, w, base, w->from_url);

		if (r < 0)
			return r;
		*ret = strdup(w->from_url);
		return *ret ? 0 : -ENOMEM;
	}
	if (asprintf(ret, "%s/v2/%s/%s", base, x->repository, w->path) >= 0)
		return 0;
	*ret = NULL;
	return -ENOMEM;
}

int exchange_run(struct exchange *x, const struct exchange_want *w, char **url,
		 struct transport_reply *reply)
{
	unsigned int n_401 = 0, n_redirects = 0;
	bool remembered;

	free(*url);
	*url = find_target(x, w->digest);
	remembered = *url;
	for (unsigned int n = 0; n <= LIMIT_REDIRECTS + CHALLENGES_MAX; n++) {
		_cleanup_(hop_end) struct hop hop = {0};
		int r;

		base_url(x, hop.base, sizeof(hop.base));
		if (!*url) {
			r = first_url(x, w, hop.base, url);
			if (r < 0)
				return r;
		}
		transport_reply_free(reply);
		r = send_to(x, w, *url, &hop, reply);
		if (r < 0 && r != -EIO)
			return r;
		if (remembered && reply->received == 0 && (r < 0 || reply->status / 100 == 4)) {
			keep_target(x, w->digest,
				    NULL); /* a signature that ran out: ask the registry again */
			remembered = false;
			fd_free_memory(url);
			continue;
		}
		hop.last_401 = reply->status == 401 && n_401++ >= CHALLENGES_MAX;
		r = judge(x, w, &hop, url, reply);
		if (r == NEXT_DONE && !hop.own_origin && reply->status / 100 == 2)
			keep_target(x, w->digest, *url);
		if (r != NEXT_AGAIN)
			return r;
		if (reply->status / 100 == 3 && ++n_redirects > LIMIT_REDIRECTS)
			break;
	}
	return fail(EPROTO, "%s redirects %s more than %d times", x->host, w->what,
		    LIMIT_REDIRECTS);
}

int exchange_report(const struct exchange *x, const struct exchange_want *w, const char *url,
		    const struct transport_reply *reply)
{
	if (reply->failure != TRANSPORT_OK)
		return registry_error_failure(x->host, w->what, url, reply, w->request.fd);
	return registry_error_status(x->host, w->what, url, reply,
				     x->access->username || x->access->identity_token);
}
