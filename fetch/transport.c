/* One loop: take what was posted, let libcurl work, tell those who wait. */
#include "fetch/transport.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "base/thread.h"
#include "fetch/transport_body.h"
#include "fetch/url.h"

#define BULK_MAX 12 /* long transfers at a time from one host; more only share the link and cost buffers */
#define WAKE_TRIES 100
#define IDLE_POLL_MS 60000 /* libcurl shortens it to its own timers */

struct call {
	struct transport_body body;
	pthread_cond_t ended;
	bool done;
	uint64_t arrived; /* as who follows it is told, */
	uint64_t wanted; /* who wants to know when so many have */
	struct url_origin origin; /* of one that is long: hosts that trickle hold up no other */
	struct call *next; /* in `posted` or `running` */
};

struct transport {
	pthread_mutex_t lock; /* guards posted, stopping, started, and every call's done, arrived and wanted */
	struct call *posted;
	bool started, stopping;
	pthread_t thread;
	CURLM *multi;
	CURLSH *share; /* TLS sessions: further connections to a host shake hands faster */
	atomic_uint_fast64_t requests, body_bytes;

	struct call *running; /* the thread's own */
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_start(void)
{
	curl_global_init(CURL_GLOBAL_SSL);
}

/* The loop would sleep on, while somebody waits for it. The lock is held. */
static void wake_loop(struct transport *t)
{
	for (int tries = 0; curl_multi_wakeup(t->multi) != CURLM_OK && tries < WAKE_TRIES; tries++)
		usleep(1000);
}

static void wake(struct transport *t)
{
	pthread_mutex_lock(&t->lock);
	if (t->started)
		wake_loop(t);
	pthread_mutex_unlock(&t->lock);
}

void transport_cancel(struct transport *t, struct transport_watch *w)
{
	pthread_mutex_lock(&w->lock);
	w->cancelled = true;
	pthread_cond_broadcast(&w->moved);
	pthread_mutex_unlock(&w->lock);
	wake(t);
}

int transport_sleep(struct transport_watch *w, unsigned int ms)
{
	struct timespec end;
	bool cancelled;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += ms / 1000;
	end.tv_nsec += (long)(ms % 1000) * 1000000;
	if (end.tv_nsec >= 1000000000) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000;
	}
	if (!w) {
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR)
			;
		return 0;
	}
	pthread_mutex_lock(&w->lock);
	while (!w->cancelled && pthread_cond_timedwait(&w->moved, &w->lock, &end) != ETIMEDOUT)
		;
	cancelled = w->cancelled;
	pthread_mutex_unlock(&w->lock);
	return cancelled ? -ECANCELED : 0;
}

void transport_reply_free(struct transport_reply *r)
{
	free(r->redirect);
	free(r->location);
	free(r->next);
	bytes_free(&r->challenge);
	bytes_free(&r->error_body);
	*r = (struct transport_reply){0};
}

static void end_call(struct transport *t, struct call *c, CURLcode code)
{
	if (c->body.easy)
		curl_multi_remove_handle(t->multi, c->body.easy);
	transport_body_end(&c->body, code);
	pthread_mutex_lock(&t->lock);
	c->done = true; /* its stack may be gone as soon as the lock is */
	pthread_cond_signal(&c->ended);
	pthread_mutex_unlock(&t->lock);
}

static void give_up(struct transport *t, struct call *c, enum transport_failure failure,
		    const char *text)
{
	c->body.reply->failure = failure;
	snprintf(c->body.reply->text, sizeof(c->body.reply->text), "%s", text);
	end_call(t, c, CURLE_ABORTED_BY_CALLBACK);
}

static void begin_call(struct transport *t, struct call *c)
{
	int r = transport_body_begin(&c->body);

	if (r == 0) {
		curl_easy_setopt(c->body.easy, CURLOPT_SHARE, t->share);
		if (curl_multi_add_handle(t->multi, c->body.easy) != CURLM_OK)
			r = -ENOMEM;
	}
	if (r < 0) {
		give_up(t, c, TRANSPORT_OTHER, "out of memory");
		return;
	}
	atomic_fetch_add_explicit(&t->requests, 1, memory_order_relaxed);
	c->next = t->running;
	t->running = c;
}

static unsigned int count_bulk(const struct call *list, const struct url_origin *origin)
{
	unsigned int n = 0;

	for (const struct call *c = list; c; c = c->next)
		n += c->body.request->bulk && url_origin_equal(&c->origin, origin);
	return n;
}

/* Begins what may begin; long transfers beyond BULK_MAX stay posted, in order. */
static bool take_posted(struct transport *t)
{
	struct call *mine = NULL, **end = &mine;
	bool stopping;

	pthread_mutex_lock(&t->lock);
	stopping = t->stopping;
	for (struct call **at = &t->posted; *at;) {
		struct call *c = *at;

		if (c->body.request->bulk && !transport_watch_cancelled(c->body.request->watch) &&
		    count_bulk(t->running, &c->origin) + count_bulk(mine, &c->origin) >= BULK_MAX) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		c->next = NULL;
		*end = c;
		end = &c->next;
	}
	pthread_mutex_unlock(&t->lock);
	while (mine) {
		struct call *c = mine;

		mine = c->next;
		begin_call(t, c);
	}
	return !stopping;
}

static void drop_cancelled(struct transport *t)
{
	for (struct call **at = &t->running; *at;) {
		struct call *c = *at;

		if (!transport_watch_cancelled(c->body.request->watch)) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		give_up(t, c, TRANSPORT_CANCELLED, "cancelled");
	}
}

static bool reap(struct transport *t)
{
	bool any = false;
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(t->multi, &left))) {
		struct call **at = &t->running, *c = NULL;
		CURLcode code = m->data.result;

		if (m->msg != CURLMSG_DONE)
			continue;
		while (*at && (*at)->body.easy != m->easy_handle)
			at = &(*at)->next;
		assert(*at);
		c = *at;
		*at = c->next;
		end_call(t, c, code);
		any = true;
	}
	return any;
}

static void tell(struct transport *t, struct call *c)
{
	const uint64_t received = c->body.reply->received;

	transport_body_tell(&c->body);
	if (!c->body.request->follow || c->arrived == received)
		return;
	pthread_mutex_lock(&t->lock);
	if (received >= c->wanted || received < c->arrived) {
		c->arrived = received;
		pthread_cond_signal(&c->ended);
	}
	pthread_mutex_unlock(&t->lock);
}

static void *loop(void *opaque)
{
	struct transport *t = opaque;

	for (;;) {
		int n_running;

		if (!take_posted(t))
			break;
		drop_cancelled(t);
		curl_multi_perform(t->multi, &n_running);
		/* What is left of a turn: a fast transfer does not wake its reader for each 16 KiB.
		 */
		for (struct call *c = t->running; c; c = c->next)
			tell(t, c);
		if (!reap(t))
			curl_multi_poll(t->multi, NULL, 0, IDLE_POLL_MS, NULL);
	}
	while (t->running) {
		struct call *c = t->running;

		t->running = c->next;
		give_up(t, c, TRANSPORT_CANCELLED, "stopped");
	}
	return NULL;
}

int transport_new(struct transport **ret)
{
	struct transport *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	*ret = t;
	return 0;
}

void transport_free(struct transport **t)
{
	struct transport *x = *t;

	if (!x)
		return;
	if (x->started) {
		pthread_mutex_lock(&x->lock);
		x->stopping = true;
		wake_loop(x);
		pthread_mutex_unlock(&x->lock);
		pthread_join(x->thread, NULL);
	}
	if (x->multi)
		curl_multi_cleanup(x->multi);
	if (x->share)
		curl_share_cleanup(x->share);
	pthread_mutex_destroy(&x->lock);
	free(x);
	*t = NULL;
}

/* With the lock held. libcurl and OpenSSL are started by the first request: an image that is
 * here already must not wait for them. */
/* Without descriptors for its wakeup libcurl does without, and the loop would sleep through all that is posted. */
static CURLM *new_multi(void)
{
	CURLM *multi = curl_multi_init();

	if (multi && curl_multi_wakeup(multi) != CURLM_OK) {
		curl_multi_cleanup(multi);
		return NULL;
	}
	return multi;
}

static int start(struct transport *t)
{
	int r;

	if (t->started)
		return 0;
	pthread_once(&curl_once, curl_start);
	for (int tries = 0; !t->multi && tries < 3; tries++)
		t->multi = new_multi();
	if (!t->share)
		t->share = curl_share_init();
	if (!t->multi || !t->share)
		return fail(ENOMEM, "libcurl cannot be started: no memory, or no descriptors");
	curl_share_setopt(t->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
	curl_multi_setopt(t->multi, CURLMOPT_MAXCONNECTS, 64L);
	r = thread_start(&t->thread, loop, t);
	if (r < 0)
		return fail(-r, "no thread for the network: %s", strerror(-r));
	t->started = true;
	return 0;
}

/* The lock is held, but while who follows is told. */
static void wait_for(struct transport *t, struct call *c)
{
	const struct transport_follow *follow = c->body.request->follow;
	uint64_t told = 0;

	while (!c->done || (follow && c->body.reply->received != told)) {
		uint64_t arrived = c->done ? c->body.reply->received : c->arrived, wanted;

		if (arrived == told) {
			pthread_cond_wait(&c->ended, &t->lock);
			continue;
		}
		told = arrived;
		pthread_mutex_unlock(&t->lock);
		wanted = follow->arrived(follow->opaque, arrived);
		pthread_mutex_lock(&t->lock);
		c->wanted = wanted;
	}
}

int transport_call(struct transport *t, const struct transport_request *request,
		   struct transport_reply *ret)
{
	struct call c = {.body = {.request = request, .reply = ret, .body_bytes = &t->body_bytes}};
	struct call **at;
	int r;

	*ret = (struct transport_reply){.length = TRANSPORT_UNKNOWN};
	if (transport_watch_cancelled(request->watch))
		return -ECANCELED;
	if (request->bulk)
		url_origin_parse(request->url, &c.origin); /* libcurl says what is wrong with it */
	pthread_cond_init(&c.ended, NULL);
	pthread_mutex_lock(&t->lock);
	r = start(t);
	if (r == 0) {
		for (at = &t->posted; *at; at = &(*at)->next)
			;
		*at = &c;
		wake_loop(t);
		wait_for(t, &c);
	}
	pthread_mutex_unlock(&t->lock);
	pthread_cond_destroy(&c.ended);
	if (r < 0)
		return r;
	if (ret->failure == TRANSPORT_CANCELLED)
		return -ECANCELED;
	return ret->failure == TRANSPORT_OK ? 0 : -EIO;
}

void transport_counters(struct transport *t, struct transport_counters *ret)
{
	ret->requests = atomic_load_explicit(&t->requests, memory_order_relaxed);
	ret->body_bytes = atomic_load_explicit(&t->body_bytes, memory_order_relaxed);
}
