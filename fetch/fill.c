/* A queue of spans and a few workers; a span stands in the queue at most once. */
#include "fetch/fill.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/beneath.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/report.h"
#include "cache/layer_blob.h"
#include "cache/layer_sources.h"
#include "fetch/span_unit.h"
#include "format/span_decode.h"

#define WORKERS 8u
#define PATIENCE_MS 90000 /* for all of a layer's sources together; the one that is asked then has its own */
#define WORKER_STACK (512u << 10)
#define AGAIN_MS 250	  /* the first pause after a host could not be reached; each is twice the last, */
#define AGAIN_MAX_MS 5000 /* up to this */

struct item {
	struct item *next;
	struct layer_store *layer; /* a reference */
	uint32_t number; /* of the layer */
	size_t span; /* the first of its unit */
	bool taken; /* a worker has it */
	int64_t again; /* not before (clock_ms()): its host could not be reached */
	int64_t deadline; /* of the readers' patience with that, 0: it was not tried yet */
	unsigned int tries;
};

struct fill {
	struct context *context;
	pthread_mutex_t lock; /* guards the next four */
	pthread_cond_t more; /* by the monotonic clock */
	struct item *items; /* oldest first */
	unsigned int n_workers;
	char waiting[FILL_WAITING_SIZE]; /* why the last one has to be tried again */
	_Atomic uint64_t spans, bytes;
};

/* A worker waits for a server whose socket is full, the main loop does not (`flags`): the server asks again
 * after a while, and every packet is only "look again". */
static void answer(struct fill *f, int flags, const struct need *need)
{
	while (send(f->context->setup->need_fd, need, sizeof(*need), flags | MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

/* The layer says which blob it is cut from. Else that is the tar itself: its digest is the diffID, the layer's key. */
static int find_blob(const struct fill *f, const struct layer_store *layer, struct descriptor *ret)
{
	const struct span_table *t = layer_store_spans(layer);
	char text[DIGEST_TEXT_MAX];
	struct layer_blob said;
	struct span at;
	int r = layer_blob_get(f->context->store, layer_store_key(layer), &said);

	*ret = (struct descriptor){.type = MEDIA_LAYER_TAR, .digest = said.digest, .size = said.size};
	if (r != -ENOENT)
		return r < 0 ? fail(-r, "layer %s: its file \"blob\": %s", layer_store_key(layer), strerror(-r)) : 0;
	snprintf(text, sizeof(text), "sha256:%s", layer_store_key(layer) + strlen("tar-"));
	r = digest_parse(text, strlen(text), &ret->digest);
	for (size_t i = span_table_count(t); r == 0 && i > 0; i--) {
		span_table_get(t, i - 1, &at);
		if (span_table_comes_back(&at)) {
			ret->size = at.packed_off + at.packed_size;
			break;
		}
	}
	return r;
}

static int get_source(struct fill *f, const char *name, struct source **ret)
{
	struct reference ref;
	int r = reference_parse(name, &ref);

	return r < 0 ? r : source_table_get(f->context->sources, &ref, NULL, ret);
}

/* One span on its way, or several: then `span` says no more than their packed range. */
struct way {
	struct layer_store *layer;
	struct span_unit unit;
	struct span span;
	uint8_t *packed, *plain, *window;
};

static void way_free(struct way *w)
{
	free(w->packed);
	free(w->plain);
	free(w->window);
}

static int way_new(struct layer_store *layer, const struct span_unit *unit, struct way *ret)
{
	*ret = (struct way){.layer = layer, .unit = *unit};
	if (unit->n == 1)
		span_table_get(layer_store_spans(layer), unit->first, &ret->span);
	ret->span.packed_off = unit->packed_off;
	ret->span.packed_size = unit->packed_size;
	ret->packed = malloc((size_t)ret->span.packed_size + 1);
	ret->plain = malloc((size_t)ret->span.size + 1);
	ret->window = malloc(ret->span.window_size + 1);
	return ret->packed && ret->plain && ret->window ? 0 : -ENOMEM;
}

/* All windows of a layer together, once: they are a hundredth of it, and readers need them again and again. */
static int fetch_windows(struct fill *f, struct source *source, int dir_fd, const char *key)
{
	_cleanup_(bytes_free) struct bytes windows = {0};
	struct layer_blob blob;
	int r = layer_blob_get_windows(f->context->store, key, &blob);

	if (r < 0)
		return fail(EBADMSG, "layer %s has no windows for its checkpoints; `lazyrun check` mends that", key);
	r = source_get_blob(source, &(struct descriptor){.digest = blob.digest, .size = blob.size},
			    LIMIT_LAZY_BLOB_SIZE, &windows);
	if (r == 0)
		r = fd_write_file(dir_fd, LAYER_BLOB_WINDOWS, windows.data, windows.size, 0600);
	return r;
}

static int read_window(int dir_fd, const struct way *w)
{
	_cleanup_(fd_close) int fd = openat(dir_fd, LAYER_BLOB_WINDOWS, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd_pread_full(fd, w->window, w->span.window_size, w->span.window_off);
}

static int get_window(struct fill *f, struct source *source, const struct way *w)
{
	const char *key = layer_store_key(w->layer);
	_cleanup_(fd_close) int dir_fd = -1;
	struct flight flight = {0};
	int r;

	if (w->span.window_size == 0)
		return 0;
	dir_fd = beneath_cache_open(f->context->store->layers_fd, key, O_RDONLY | O_DIRECTORY, 0);
	r = dir_fd < 0 ? dir_fd : read_window(dir_fd, w);
	if (r != -ENOENT)
		return r;
	hash_bytes(key, strlen(key), &flight.blob); /* one worker at a time; any digest of the layer's does */
	context_enter_flight(f->context, &flight);
	r = read_window(dir_fd, w);
	if (r == -ENOENT) {
		r = fetch_windows(f, source, dir_fd, key);
		if (r == 0)
			r = read_window(dir_fd, w);
	}
	context_leave_flight(f->context, &flight);
	return r;
}

/* `once`: others may have it. */
static int get_span(struct fill *f, const char *source_name, const struct way *w, bool once)
{
	const struct span *span = &w->span;
	struct descriptor blob;
	struct source *source;
	int r = find_blob(f, w->layer, &blob);

	if (r == 0)
		r = get_source(f, source_name, &source);
	if (r == 0)
		r = get_window(f, source, w);
	for (int tries = 0; r == 0 && tries < 2; tries++) {
		char text[REPORT_TEXT_SIZE], *outer;

		r = (once ? source_try_range : source_get_range)(source, &blob, span->packed_off,
								 (size_t)span->packed_size, w->packed);
		if (r < 0)
			return r;
		if (w->unit.n > 1) {
			r = span_unit_put(w->layer, &w->unit, w->packed);
			if (r != -EBADMSG)
				return r;
			r = 0;
			continue;
		}
		if (span->digest_of == SPAN_DIGEST_PACKED && !span_decode_verify(span, w->packed, w->plain))
			continue; /* never decoded */
		outer = report_capture(text); /* what broke them is what broke their digest */
		r = span_decode(span, w->packed, w->window, w->plain);
		report_capture_again(outer);
		if (r == 0 && span_decode_verify(span, w->packed, w->plain))
			return 0;
		r = r == -EBADMSG ? 0 : r;
	}
	return r < 0 ? r :
		       fail(EBADMSG, "%s sent wrong bytes twice for layer %s at %" PRIu64, source_name,
			    layer_store_key(w->layer), span->packed_off);
}

static bool is_down(struct fill *f, const char *source_name)
{
	struct source *source;

	return get_source(f, source_name, &source) == 0 && source_is_down(source);
}

/* What a network or a registry that comes back mends. */
static bool passes(int r)
{
	return r == -EHOSTUNREACH || r == -ECONNREFUSED || r == -ETIMEDOUT || r == -EAGAIN || r == -EPROTO;
}

/* Each once, those that are down last; only when none has it now is it worth waiting for one. A source that has answered
 * what no waiting mends decides. */
static int get_from_any(struct fill *f, char *const *names, size_t n, const struct way *w)
{
	int64_t deadline = clock_ms() + PATIENCE_MS;
	bool down[LAYER_SOURCES_MAX];
	int r = -ENOENT, answered = 0;

	for (size_t i = 0; i < n && i < LAYER_SOURCES_MAX; i++)
		down[i] = is_down(f, names[i]);
	for (int last = 0; n > 1 && last < 2; last++)
		for (size_t i = 0; i < n && i < LAYER_SOURCES_MAX; i++)
			if (down[i] == last && (r = get_span(f, names[i], w, true)) == 0)
				return 0;
	for (size_t i = 0; i < n && i < LAYER_SOURCES_MAX && (i == 0 || clock_ms() < deadline); i++) {
		r = get_span(f, names[i], w, down[i]);
		if (r == 0)
			return 0;
		if (!passes(r) && !answered)
			answered = r;
	}
	return answered ? answered : r;
}

static int get_and_put(struct fill *f, const char *key, char *const *names, size_t n, const struct way *w)
{
	int r = get_from_any(f, names, n, w);

	if (r == 0 && w->unit.n == 1) {
		r = layer_store_put_span(w->layer, w->unit.first, w->plain);
		if (r < 0)
			return fail(-r, "layer %s cannot be written in %s: %s", key, f->context->store->store_path,
				    strerror(-r));
	}
	return r;
}

static int fill_unit(struct fill *f, const struct item *item, const struct span_unit *unit)
{
	_cleanup_(layer_sources_free) char **names = NULL;
	_cleanup_(way_free) struct way w = {0};
	const char *key = layer_store_key(item->layer);
	struct span first;
	size_t n = 0;
	int r;

	span_table_get(layer_store_spans(item->layer), unit->first, &first);
	if (!span_table_comes_back(&first))
		return fail(EIO, "layer %s: bytes at %" PRIu64 " are missing and have no way back", key, first.off);
	if (atomic_load(&f->context->offline))
		return fail(EIO, "layer %s: bytes at %" PRIu64 " are missing, and nothing may be asked of a registry (--offline)",
			    key, first.off);
	r = layer_sources_get(f->context->store, key, &names, &n);
	if (r < 0 || n == 0)
		return fail(EIO, "layer %s: bytes at %" PRIu64 " are missing and no registry is known to have them; "
				 "run lazyrun pull IMAGE", key, first.off);
	r = way_new(item->layer, unit, &w);
	if (r == 0)
		r = get_and_put(f, key, names, n, &w);
	if (r < 0)
		return r;
	number_table_touch(f->context->numbers, item->number, first.off);
	f->spans += unit->n;
	f->bytes += unit->packed_size;
	return 0;
}

/* To the server, what became of spans [first, first + n). */
static void answer_range(struct fill *f, const struct item *item, size_t first, size_t n, int r)
{
	const struct span_table *t = layer_store_spans(item->layer);
	struct span from, to;

	span_table_get(t, first, &from);
	span_table_get(t, first + n - 1, &to);
	answer(f, 0,
	       &(struct need){.kind = r < 0 ? NEED_FAILED : NEED_DONE,
			      .number = item->number,
			      .error = r < 0 ? (uint32_t)-r : 0,
			      .first_page = from.off / LAYER_PAGE,
			      .n_pages = (to.off + to.size - 1) / LAYER_PAGE - from.off / LAYER_PAGE + 1});
}

/* Readers of a unit's spans that are in must not fail with the others. */
static void answer_unit(struct fill *f, const struct item *item, const struct span_unit *unit, int r)
{
	size_t end = unit->first + unit->n, n;

	for (size_t i = unit->first; r < 0 && i < end; i += n) {
		bool there = layer_store_has_span(item->layer, i);

		for (n = 1; i + n < end && layer_store_has_span(item->layer, i + n) == there; n++)
			;
		if (!there)
			answer_range(f, item, i, n, r);
	}
	if (r == 0 || unit->n > 1)
		answer_range(f, item, unit->first, unit->n, 0);
}

static void remove_item(struct fill *f, struct item *item)
{
	for (struct item **at = &f->items; *at; at = &(*at)->next)
		if (*at == item) {
			*at = item->next;
			break;
		}
	layer_store_free(&item->layer);
	free(item);
}

/* The next one whose time has come. Waits when there is none. The lock is held. */
static struct item *next_item(struct fill *f)
{
	for (;;) {
		int64_t now = clock_ms(), soonest = INT64_MAX;

		for (struct item *i = f->items; i; i = i->next) {
			if (!i->taken && i->again <= now)
				return i;
			if (!i->taken && i->again < soonest)
				soonest = i->again;
		}
		if (soonest == INT64_MAX) {
			pthread_cond_wait(&f->more, &f->lock);
		} else {
			const struct timespec until = {soonest / 1000, soonest % 1000 * 1000000};

			pthread_cond_timedwait(&f->more, &f->lock, &until);
		}
	}
}

static int try_item(struct fill *f, struct item *item, const struct span_unit *unit, char text[static REPORT_TEXT_SIZE])
{
	struct span_unit missing;
	char *outer;
	int r;

	span_unit_missing(item->layer, unit, &missing);
	outer = report_capture(text);
	r = missing.n ? fill_unit(f, item, &missing) : 0;
	report_capture_again(outer);
	return r;
}

/* Whether the readers of an item that failed wait on; the worker does not: the next span may have another host. */
static bool try_again(struct fill *f, struct item *item, int r, const char *text)
{
	int64_t now = clock_ms(), pause = item->tries < 5 ? AGAIN_MS << item->tries : AGAIN_MAX_MS;
	const uint64_t patience_ms = 1000 * (uint64_t)atomic_load(&f->context->read_timeout);

	if (!passes(r))
		return false;
	pthread_mutex_lock(&f->lock);
	if (item->deadline == 0) {
		item->deadline = now + (int64_t)patience_ms;
		report_note("readers wait, at most %" PRIu64 " seconds: %s", patience_ms / 1000, text);
	}
	if (now >= item->deadline) {
		pthread_mutex_unlock(&f->lock);
		return false;
	}
	snprintf(f->waiting, sizeof(f->waiting), "%s", text);
	item->tries++;
	item->again = now + pause < item->deadline ? now + pause : item->deadline;
	item->taken = false;
	pthread_cond_signal(&f->more);
	pthread_mutex_unlock(&f->lock);
	return true;
}

static void *work(void *argument)
{
	struct fill *f = argument;

	for (;;) {
		char text[REPORT_TEXT_SIZE] = "";
		struct span_unit unit;
		struct item *item, done;
		int r;

		pthread_mutex_lock(&f->lock);
		item = next_item(f);
		item->taken = true;
		pthread_mutex_unlock(&f->lock);
		span_unit_of(layer_store_spans(item->layer), item->span, &unit);
		r = try_item(f, item, &unit, text);
		if (r < 0 && try_again(f, item, r, text))
			continue;
		if (r < 0)
			report_note("%s", text[0] ? text : strerror(-r)); /* the log */
		done = (struct item){.layer = layer_store_again(item->layer), .number = item->number};
		/* Out of the queue before the answer: who asks after it must not find the old item. */
		pthread_mutex_lock(&f->lock);
		remove_item(f, item);
		pthread_mutex_unlock(&f->lock);
		answer_unit(f, &done, &unit, r);
		layer_store_free(&done.layer);
	}
	return NULL;
}

static void start_worker(struct fill *f)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, WORKER_STACK);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attributes, work, f) == 0)
		f->n_workers++;
	pthread_attr_destroy(&attributes);
}

int fill_new(struct context *c, struct fill **ret)
{
	struct fill *f = calloc(1, sizeof(*f));
	pthread_condattr_t monotonic;

	if (!f)
		return -ENOMEM;
	f->context = c;
	pthread_mutex_init(&f->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&f->more, &monotonic);
	*ret = f;
	return 0;
}

/* Puts a span's unit at the end of the queue. The lock is held. */
static int queue_span(struct fill *f, struct layer_store *layer, uint32_t number, size_t span)
{
	struct item **at = &f->items;
	unsigned int waiting = 0;
	struct span_unit unit;

	span_unit_of(layer_store_spans(layer), span, &unit);
	span = unit.first;

	for (; *at; at = &(*at)->next) {
		if ((*at)->layer == layer && (*at)->span == span)
			return 0;
		waiting++;
	}
	*at = calloc(1, sizeof(**at));
	if (!*at)
		return -ENOMEM;
	(*at)->layer = layer_store_again(layer);
	(*at)->number = number;
	(*at)->span = span;
	if (waiting >= f->n_workers && f->n_workers < WORKERS)
		start_worker(f);
	pthread_cond_signal(&f->more);
	return 0;
}

/* Whether the pages of [off, end) in the span are there: a start pack brings pages, not whole spans. */
static bool wanted_present(const struct layer_store *layer, const struct span *span, uint64_t off, uint64_t end)
{
	uint64_t from = off > span->off ? off : span->off;
	uint64_t to = end < span->off + span->size ? end : span->off + span->size;

	return layer_store_present(layer, from, to - from);
}

static int queue_missing(struct fill *f, struct layer_store *layer, const struct need *need, bool *ret_queued)
{
	uint64_t off = need->first_page * LAYER_PAGE, end = off + need->n_pages * LAYER_PAGE;
	const struct span_table *t = layer_store_spans(layer);
	int r = 0;

	while (r == 0 && off < end && off < layer_store_size(layer)) {
		struct span span;
		size_t i;

		if (span_table_at(t, off, &i) < 0)
			return span_table_is_foreign(t) ? 0 : -EBADMSG;
		span_table_get(t, i, &span);
		if (span.off < end && !layer_store_has_span(layer, i) && !wanted_present(layer, &span, off, end)) {
			r = queue_span(f, layer, need->number, i);
			*ret_queued = true;
		}
		off = span.off + span.size;
	}
	return r;
}

void fill_need(struct fill *f, const struct need *need)
{
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;
	bool queued = false;
	const char *key;
	int r;

	if (need->first_page > UINT64_MAX / LAYER_PAGE / 2 || need->n_pages > UINT64_MAX / LAYER_PAGE / 4)
		return;
	r = number_table_layer(f->context->numbers, need->number, &key);
	if (r == 0)
		r = layer_table_get(f->context->layers, key, &layer);
	if (r == 0) {
		pthread_mutex_lock(&f->lock);
		r = queue_missing(f, layer, need, &queued);
		if (r == 0 && queued && f->n_workers == 0)
			r = -EAGAIN;
		pthread_mutex_unlock(&f->lock);
	}
	if (r < 0 || !queued)
		answer(f, MSG_DONTWAIT,
		       &(struct need){.kind = r < 0 ? NEED_FAILED : NEED_DONE,
				      .number = need->number,
				      .error = r < 0 ? EIO : 0,
				      .first_page = need->first_page,
				      .n_pages = need->n_pages});
}

void fill_counters(struct fill *f, uint64_t *ret_spans, uint64_t *ret_bytes)
{
	*ret_spans = f->spans;
	*ret_bytes = f->bytes;
}

void fill_waiting(struct fill *f, char ret[static FILL_WAITING_SIZE])
{
	bool any = false;

	pthread_mutex_lock(&f->lock);
	for (struct item *i = f->items; i && !any; i = i->next)
		any = i->tries > 0;
	snprintf(ret, FILL_WAITING_SIZE, "%s", any ? f->waiting : "");
	pthread_mutex_unlock(&f->lock);
}
