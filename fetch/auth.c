/* A challenge is remembered, so that the next token can be had without another refused request. */
#include "fetch/auth.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/report.h"
#include "fetch/http_header.h"
#include "fetch/registry_error.h"
#include "fetch/retry.h"
#include "fetch/url.h"

#define TOKEN_SIZE_MAX (64u << 10)
#define TOKEN_SECONDS 60 /* when the server does not say (token.md) */
#define TOKEN_SECONDS_MAX 86400 /* we ask again at least daily */
#define TOKEN_EARLY 5 /* seconds before the end: the request takes time, too */

enum auth_scheme {
	AUTH_NONE,
	AUTH_BASIC,
	AUTH_BEARER,
};

struct auth {
	struct transport *transport;
	const struct access *access;
	char host[LIMIT_REPOSITORY_SIZE + 1];
	char repository[LIMIT_REPOSITORY_SIZE + 1];

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t idle;
	bool busy; /* one thread is asking for a token */
	enum auth_scheme scheme;
	unsigned int generation; /* raised when `line` changes */
	char *line;
	time_t expires; /* CLOCK_MONOTONIC; 0: never */
	struct http_challenge challenge; /* of AUTH_BEARER */
};

int auth_new(struct transport *t, const struct access *access, const struct reference *ref,
	     struct auth **ret)
{
	struct auth *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->transport = t;
	a->access = access;
	snprintf(a->host, sizeof(a->host), "%s", ref->host);
	snprintf(a->repository, sizeof(a->repository), "%s", ref->repository);
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->idle, NULL);
	*ret = a;
	return 0;
}

static void wipe(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

static void wipe_bytes(struct bytes *b)
{
	if (b->data)
		explicit_bzero(b->data, b->capacity);
	bytes_free(b);
}

void auth_free(struct auth **a)
{
	if (!*a)
		return;
	wipe(&(*a)->line);
	pthread_mutex_destroy(&(*a)->lock);
	pthread_cond_destroy(&(*a)->idle);
	free(*a);
	*a = NULL;
}

void auth_header_free(struct auth_header *h)
{
	wipe(&h->line);
}

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static int basic_line(const struct access *access, char **ret)
{
	_cleanup_(wipe) char *pair = NULL;
	_cleanup_(wipe) char *coded = NULL;
	int n = asprintf(&pair, "%s:%s", access->username,
			 access->password ? access->password : "");

	if (n < 0) {
		pair = NULL;
		return -ENOMEM;
	}
	coded = malloc(4 * ((size_t)n + 2) / 3 + 8);
	if (!coded)
		return -ENOMEM;
	EVP_EncodeBlock((unsigned char *)coded, (const unsigned char *)pair, n);
	if (asprintf(ret, "Authorization: Basic %s", coded) < 0) {
		*ret = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* A token goes into a header line: it must not be able to add another. */
static bool is_header_safe(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text <= ' ' || (unsigned char)*text >= 127)
			return false;
	return true;
}

int auth_parse_token(const char *host, const void *body, size_t size, char **ret_line, uint64_t *ret_seconds)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	const char *token;
	uint64_t seconds;
	int r = json_field_parse(body, size, &o);

	if (r == 0) {
		r = json_field_string(o, "token", &token);
		if (r == -ENOENT || (r == 0 && !*token))
			r = json_field_string(o, "access_token", &token);
	}
	if (r == -ENOMEM)
		return r;
	if (r < 0 || !*token || !is_header_safe(token))
		return fail(EPROTO, "%s: its token server answers without a usable token", host);
	if (json_field_u64(o, "expires_in", &seconds) < 0 || seconds == 0)
		seconds = TOKEN_SECONDS;
	if (seconds > TOKEN_SECONDS_MAX)
		seconds = TOKEN_SECONDS_MAX;
	if (asprintf(ret_line, "Authorization: Bearer %s", token) < 0) {
		*ret_line = NULL;
		return -ENOMEM;
	}
	*ret_seconds = seconds > 2 * TOKEN_EARLY ? seconds - TOKEN_EARLY : seconds;
	return 0;
}

static int add_parameter(struct bytes *to, const char *name, const char *value)
{
	int r = bytes_printf(to, "%s%s=", to->size && to->data[to->size - 1] != '?' ? "&" : "",
			     name);

	return r < 0 ? r : url_encode(to, value);
}

/* service=S&scope=A&scope=B */
static int add_question(const struct auth *a, const struct http_challenge *c, struct bytes *to,
			bool joined)
{
	char scopes[sizeof(c->scope)], *rest = scopes, *one;
	int r = 0;

	if (*c->service)
		r = add_parameter(to, "service", c->service);
	if (r == 0 && !*c->scope) {
		snprintf(scopes, sizeof(scopes), "repository:%s:pull", a->repository);
		return add_parameter(to, "scope", scopes);
	}
	if (joined) /* OAuth2 has one scope parameter, its values separated by spaces */
		return r < 0 ? r : add_parameter(to, "scope", c->scope);
	snprintf(scopes, sizeof(scopes), "%s", c->scope);
	while (r == 0 && (one = strsep(&rest, " ")))
		if (*one)
			r = add_parameter(to, "scope", one);
	return r;
}

/* The token server's address may be anyone's, but what is secret goes there only over TLS, unless
 * the registry itself is one that speaks plain http. */
static int check_realm(const struct auth *a, const char *base_url, const char *realm,
		       bool *ret_own_origin)
{
	struct url_origin registry, o;

	if (url_origin_parse(realm, &o) < 0)
		return fail(EPROTO, "%s asks for a token from \"%.200s\", which is no web address",
			    a->host, realm);
	if (url_origin_parse(base_url, &registry) < 0)
		return -EINVAL;
	*ret_own_origin = url_origin_equal(&o, &registry);
	if (!o.https &&
	    (registry.https || (!a->access->plain_http && !url_host_is_loopback(o.host))))
		return fail(EACCES,
			    "%s asks for a token over plain http from %s: refused, it could be "
			    "read on the way",
			    a->host, o.host);
	return 0;
}

/* No redirects here: a token server is named by the registry, and secrets are in the request. */
static int exchange(struct auth *a, const struct transport_request *q)
{
	_cleanup_(transport_reply_free) struct transport_reply reply = {0};
	struct retry retry;
	bool logged_in = a->access->username || a->access->identity_token;

	retry_begin(&retry, false);
	for (;;) {
		int r;

		transport_reply_free(&reply);
		q->body->size = 0;
		r = transport_call(a->transport, q, &reply);
		if (r == 0 && reply.status == 200)
			return 0;
		if (r < 0 && r != -EIO)
			return r;
		r = retry_wait(&retry, &reply, q->watch);
		if (r < 0)
			return r;
		if (r > 0)
			continue;
		if (reply.failure != TRANSPORT_OK)
			return registry_error_failure(a->host, "a token", q->url, &reply, -1);
		/* Some token servers say 400 to a wrong password or a revoked token. */
		if (reply.status == 400 && logged_in)
			reply.status = 401;
		return registry_error_status(a->host, a->repository, q->url, &reply, logged_in);
	}
}

static int ask(struct auth *a, const char *base_url, const struct http_challenge *c,
	       struct transport_watch *watch, struct bytes *ret)
{
	_cleanup_(wipe_bytes) struct bytes url = {0};
	_cleanup_(wipe_bytes) struct bytes form = {0};
	_cleanup_(wipe) char *basic = NULL;
	struct transport_options options;
	const char *headers[] = {"Accept: application/json", NULL, NULL};
	struct transport_request q = {.headers = headers,
				      .options = &options,
				      .total = TRANSPORT_UNKNOWN,
				      .fd = -1,
				      .timeout_ms = 60000,
				      .body = ret,
				      .body_max = TOKEN_SIZE_MAX,
				      .watch = watch};
	bool own_origin = false;
	int r = check_realm(a, base_url, c->realm, &own_origin);

	if (r < 0)
		return r;
	r = bytes_printf(&url, "%s", c->realm);
	if (r == 0 && a->access->identity_token) {
		r = bytes_printf(&form, "grant_type=refresh_token&client_id=lazyrun");
		if (r == 0)
			r = add_question(a, c, &form, true);
		if (r == 0)
			r = add_parameter(&form, "refresh_token", a->access->identity_token);
	} else if (r == 0) {
		r = bytes_printf(&url, "%s", strchr(c->realm, '?') ? "&" : "?");
		if (r == 0)
			r = add_question(a, c, &url, false);
		if (r == 0 && a->access->username) {
			r = basic_line(a->access, &basic);
			headers[1] = basic;
		}
	}
	if (r == 0)
		r = bytes_terminate(&url);
	if (r == 0)
		r = bytes_terminate(&form);
	if (r < 0)
		return r;
	q.url = (const char *)url.data;
	q.form = form.size ? (const char *)form.data : NULL;
	access_options(a->access, q.url, own_origin, &options);
	return exchange(a, &q);
}

static int get_token(struct auth *a, const char *base_url, const struct http_challenge *c,
		     struct transport_watch *watch, char **ret_line, time_t *ret_expires)
{
	_cleanup_(wipe_bytes) struct bytes body = {0};
	uint64_t seconds;
	int r = ask(a, base_url, c, watch, &body);

	if (r == 0)
		r = auth_parse_token(a->host, body.data, body.size, ret_line, &seconds);
	if (r == 0)
		*ret_expires = now() + (time_t)seconds;
	return r;
}

/* With the lock held, and given up meanwhile: one thread asks, the others find its answer. */
static int renew(struct auth *a, const char *base_url, struct transport_watch *watch)
{
	struct http_challenge c = a->challenge;
	char *line = NULL;
	time_t expires = 0;
	int r;

	a->busy = true;
	pthread_mutex_unlock(&a->lock);
	r = get_token(a, base_url, &c, watch, &line, &expires);
	pthread_mutex_lock(&a->lock);
	a->busy = false;
	if (r == 0) {
		wipe(&a->line);
		a->line = line;
		a->expires = expires;
		a->generation++;
	}
	pthread_cond_broadcast(&a->idle);
	return r;
}

static void lock_idle(struct auth *a)
{
	pthread_mutex_lock(&a->lock);
	while (a->busy)
		pthread_cond_wait(&a->idle, &a->lock);
}

int auth_get(struct auth *a, const char *base_url, struct transport_watch *watch,
	     struct auth_header *ret)
{
	int r = 0;

	lock_idle(a);
	if (a->scheme == AUTH_BEARER && a->line && now() >= a->expires)
		r = renew(a, base_url, watch);
	if (r == 0) {
		ret->generation = a->generation;
		ret->line = a->line ? strdup(a->line) : NULL;
		if (a->line && !ret->line)
			r = -ENOMEM;
	}
	pthread_mutex_unlock(&a->lock);
	return r;
}

/* Bearer before Basic: it is what a registry with a token server wants. */
static enum auth_scheme choose(const struct auth *a, const char *challenges,
			       struct http_challenge *ret)
{
	enum auth_scheme best = AUTH_NONE;
	struct http_challenge c;

	while (http_header_challenge(&challenges, &c) == 0) {
		if (strcmp(c.scheme, "bearer") == 0 && *c.realm) {
			*ret = c;
			return AUTH_BEARER;
		}
		if (strcmp(c.scheme, "basic") == 0 && a->access->username)
			best = AUTH_BASIC;
	}
	return best;
}

/* With the lock held. */
static int answer(struct auth *a, const char *base_url, const char *challenges,
		  struct transport_watch *watch)
{
	struct http_challenge c = {0};
	enum auth_scheme scheme = choose(a, challenges, &c);
	int r;

	if (scheme == AUTH_NONE || (scheme == AUTH_BASIC && a->scheme == AUTH_BASIC))
		return 0;
	a->scheme = scheme;
	if (scheme == AUTH_BASIC) {
		wipe(&a->line);
		r = basic_line(a->access, &a->line);
		a->generation++;
		return r < 0 ? r : 1;
	}
	a->challenge = c;
	r = renew(a, base_url, watch);
	return r < 0 ? r : 1;
}

int auth_challenged(struct auth *a, const char *base_url, const struct auth_header *refused,
		    const char *challenges, struct transport_watch *watch)
{
	int r = 1;

	lock_idle(a);
	if (a->generation == refused->generation) /* else another thread has a newer one already */
		r = answer(a, base_url, challenges, watch);
	pthread_mutex_unlock(&a->lock);
	return r;
}
