/* A queue of spans and a few workers; a span stands in the queue at most once. */
#include "fetch/fill.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/report.h"
#include "base/thread.h"
#include "fetch/link_rate.h"
#include "fetch/need_answer.h"
#include "fetch/passing.h"
#include "fetch/span_get.h"
#include "fetch/span_unit.h"

#define WORKERS 14u
#define AHEAD_WORKERS 8u /* of them, at most, for what nobody waits for: what they have asked for is on the wire before
			    what a reader asks next, */
#define AHEAD_MS 80u	 /* so it is no more than the link brings in this time (but three requests, however large), */
#define AHEAD_LEAST (1u << 20) /* or this many packed bytes, */
#define AHEAD_MOST (4u << 20)	 /* and never more than these */
#define AHEAD_MAX 512u	 /* units that wait for a worker */
#define RUN_UNITS 32u	 /* of one request */
#define RUN_SHARE 2u	 /* a request is for this part of what may be on the wire ahead of a reader */
#define RUN_PAUSE_MS 10000 /* none after one that failed */
#define RUN_GAP (16u << 10) /* packed bytes between two units that cost less than a request */
#define AGAIN_MS 250	  /* the first pause after a host could not be reached; each is twice the last, */
#define AGAIN_MAX_MS 5000 /* up to this */

struct item {
	struct item *next;
	struct layer_store *layer; /* a reference */
	uint32_t number; /* of the layer */
	struct span_unit unit;
	uint64_t memory; /* span_unit_memory() */
	bool taken; /* a worker has it */
	bool ahead; /* no reader waits for it */
	bool counted; /* among the bytes of ahead_out */
	bool alone; /* a request for it and others failed */
	int64_t again; /* not before (clock_ms()): its host could not be reached */
	int64_t deadline; /* of the readers' patience with that, 0: it was not tried yet */
	unsigned int tries;
};

struct fill {
	struct context *context;
	pthread_mutex_t lock; /* guards the next twelve */
	pthread_cond_t more; /* by the monotonic clock */
	struct item *items; /* oldest first */
	unsigned int n_workers;
	uint64_t memory_out; /* what the large items that are taken may use */
	unsigned int n_ahead; /* workers that have one taken for nobody */
	uint64_t ahead_out; /* packed bytes that they have asked for */
	unsigned int n_ahead_waiting;
	struct link_rate rate;
	int64_t no_runs_before; /* clock_ms() */
	int64_t wanted_last; /* clock_ms() of the last time that a reader waited */
	char waiting[FILL_WAITING_SIZE]; /* why the last one has to be tried again */
	_Atomic uint64_t spans, bytes;
};

/* It is in. The lock is held. */
static void count_unit(struct fill *f, const struct item *item, const struct span_unit *got)
{
	struct span first;

	span_table_get(layer_store_spans(item->layer), got->first, &first);
	number_table_touch(f->context->numbers, item->number, first.off);
	f->spans += got->n;
	f->bytes += got->packed_size;
	link_rate_count(&f->rate, got->packed_size);
}

/* What may be on the wire ahead of a reader. The lock is held. */
static uint64_t ahead_bytes(const struct fill *f)
{
	uint64_t n = link_rate_in(&f->rate, AHEAD_MS);

	return n < AHEAD_LEAST ? AHEAD_LEAST : n > AHEAD_MOST ? AHEAD_MOST : n;
}

/* No worker has it any more. The lock is held. */
static void release_item(struct fill *f, struct item *item)
{
	if (item->counted)
		f->ahead_out -= item->unit.packed_size;
	if (item->taken && span_unit_is_large(item->memory)) {
		f->memory_out -= item->memory;
		pthread_cond_broadcast(&f->more);
	}
	if (!item->ahead)
		f->wanted_last = clock_ms();
	item->counted = false;
	item->taken = false;
}

static void remove_item(struct fill *f, struct item *item)
{
	for (struct item **at = &f->items; *at; at = &(*at)->next)
		if (*at == item) {
			*at = item->next;
			break;
		}
	release_item(f, item);
	layer_store_free(&item->layer);
	free(item);
}

/* Large ones take turns, so that a hostile layer's spans never fill the memory; those that are not never wait for
 * them. The lock is held. */
static bool may_begin(const struct fill *f, const struct item *i, bool *large_waits)
{
	if (span_unit_is_large(i->memory) && (*large_waits || !span_unit_fits(i->memory, f->memory_out))) {
		*large_waits = true; /* no later one overtakes it */
		return false;
	}
	return true;
}

/* The oldest whose time has come, readers' first; *ret_soonest is when the next one's comes. The lock is held. */
static struct item *find_item(struct fill *f, int64_t *ret_soonest)
{
	struct item *ahead = NULL;
	int64_t now = clock_ms();
	bool large_waits = false;

	*ret_soonest = INT64_MAX;
	for (struct item *i = f->items; i; i = i->next) {
		if (i->taken || (i->again <= now && !may_begin(f, i, &large_waits)))
			continue; /* for memory: it is signalled */
		if (i->ahead)
			ahead = ahead ? ahead : i;
		else if (i->again <= now)
			return i;
		else if (i->again < *ret_soonest)
			*ret_soonest = i->again;
	}
	return f->n_ahead < AHEAD_WORKERS && (f->ahead_out < ahead_bytes(f) || f->n_ahead < 3) ? ahead : NULL;
}

/* The lock is held. */
static void take_item(struct fill *f, struct item *i)
{
	i->taken = true;
	if (span_unit_is_large(i->memory))
		f->memory_out += i->memory;
	i->counted = i->ahead;
	if (!i->counted)
		return;
	f->ahead_out += i->unit.packed_size;
	f->n_ahead_waiting--;
}

/* What a worker has taken: one item, or several for one request, in the order of the blob. */
struct batch {
	size_t n;
	bool ahead; /* its first is */
	struct item *items[RUN_UNITS];
	struct span_unit missing[RUN_UNITS]; /* of the items */
};

static bool may_share(const struct item *i)
{
	struct span s;

	span_table_get(layer_store_spans(i->layer), i->unit.first, &s);
	return !i->alone && i->tries == 0 && !span_unit_is_large(i->memory) && span_table_comes_back(&s);
}

/* A checkpoint's window is known when the span before it is here. */
static bool follows(const struct item *i, const struct item *next)
{
	uint64_t end = i->unit.packed_off + i->unit.packed_size;
	struct span s;

	span_table_get(layer_store_spans(next->layer), next->unit.first, &s);
	if (next->unit.first == i->unit.first + i->unit.n)
		return next->unit.packed_off > i->unit.packed_off && next->unit.packed_off <= end + RUN_GAP;
	return s.window_size == 0 && next->unit.packed_off >= end && next->unit.packed_off <= end + RUN_GAP;
}

/* The lock is held. */
static struct item *find_next(const struct fill *f, const struct batch *b, uint64_t most)
{
	const struct item *last = b->items[b->n - 1];
	uint64_t from = b->items[0]->unit.packed_off;

	for (struct item *i = f->items; i; i = i->next)
		if (!i->taken && i->layer == last->layer && follows(last, i) && may_share(i) &&
		    i->unit.packed_off + i->unit.packed_size - from <= most)
			return i;
	return NULL;
}

/* Takes the next one, and those that lie behind it and are wanted too. Waits when there is none. The lock is held. */
static void take_batch(struct fill *f, struct batch *b)
{
	struct item *i;
	int64_t soonest;

	while (!(i = find_item(f, &soonest))) {
		const struct timespec until = {soonest / 1000, soonest % 1000 * 1000000};

		if (soonest == INT64_MAX)
			pthread_cond_wait(&f->more, &f->lock);
		else
			pthread_cond_timedwait(&f->more, &f->lock, &until);
	}
	*b = (struct batch){.n = 1, .ahead = i->ahead, .items = {i}};
	f->n_ahead += b->ahead;
	take_item(f, i);
	if (!may_share(i) || clock_ms() < f->no_runs_before)
		return;
	while (b->n < RUN_UNITS && (i = find_next(f, b, ahead_bytes(f) / RUN_SHARE))) {
		b->items[b->n++] = i;
		take_item(f, i);
	}
}

/* Out of the queue before the answer: who asks after it must not find the old item. `got`: what came, or NULL. */
static void end_item(struct fill *f, struct item *item, const struct span_unit *got, int r)
{
	struct item done;

	pthread_mutex_lock(&f->lock);
	if (got)
		count_unit(f, item, got);
	done = (struct item){.layer = layer_store_again(item->layer), .number = item->number, .unit = item->unit, .ahead = item->ahead};
	remove_item(f, item);
	pthread_mutex_unlock(&f->lock);
	if (r == 0 || !done.ahead)
		need_answer_unit(f->context, done.layer, done.number, &done.unit, r);
	layer_store_free(&done.layer);
}

/* Whether the readers of an item that failed wait on; the worker does not: the next span may have another host. */
static bool try_again(struct fill *f, struct item *item, int r, const char *text)
{
	int64_t now = clock_ms(), pause = item->tries < 5 ? AGAIN_MS << item->tries : AGAIN_MAX_MS;
	const uint64_t patience_ms = 1000 * (uint64_t)atomic_load(&f->context->read_timeout);

	if (!span_get_passes(r))
		return false;
	pthread_mutex_lock(&f->lock);
	if (item->ahead) {
		pthread_mutex_unlock(&f->lock);
		return false;
	}
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
	release_item(f, item);
	pthread_cond_signal(&f->more);
	pthread_mutex_unlock(&f->lock);
	return true;
}

static void try_one(struct fill *f, struct item *item, const struct span_unit *missing)
{
	char text[REPORT_TEXT_SIZE] = "", *outer = report_capture(text);
	int r = span_get(f->context, item->layer, missing);
	bool ahead;

	report_capture_again(outer);
	if (r < 0 && try_again(f, item, r, text))
		return;
	pthread_mutex_lock(&f->lock);
	ahead = item->ahead;
	pthread_mutex_unlock(&f->lock);
	if (r < 0 && !ahead)
		report_note("%s", text[0] ? text : strerror(-r)); /* the log */
	end_item(f, item, r < 0 ? NULL : missing, r);
}

struct running {
	struct fill *fill;
	const struct batch *batch;
};

static void end_one_of_run(void *opaque, size_t i)
{
	const struct running *r = opaque;

	end_item(r->fill, r->batch->items[i], &r->batch->missing[i], 0);
}

/* Those that do not come this way are tried one by one. */
static void try_run(struct fill *f, const struct batch *b)
{
	struct layer_store *layer = layer_store_again(b->items[0]->layer);
	size_t n = span_get_run(f->context, layer, b->missing, b->n, end_one_of_run, &(struct running){f, b});

	layer_store_free(&layer);
	if (n == b->n)
		return;
	pthread_mutex_lock(&f->lock);
	f->no_runs_before = clock_ms() + RUN_PAUSE_MS;
	for (; n < b->n; n++) {
		f->n_ahead_waiting += b->items[n]->ahead;
		b->items[n]->alone = true;
		release_item(f, b->items[n]);
	}
	pthread_cond_broadcast(&f->more);
	pthread_mutex_unlock(&f->lock);
}

static void *work(void *argument)
{
	struct fill *f = argument;

	for (;;) {
		struct batch b, missing = {0};

		pthread_mutex_lock(&f->lock);
		take_batch(f, &b);
		pthread_mutex_unlock(&f->lock);
		for (size_t i = 0; i < b.n; i++) {
			struct span_unit *m = &missing.missing[missing.n];

			span_unit_missing(b.items[i]->layer, &b.items[i]->unit, m);
			if (m->n)
				missing.items[missing.n++] = b.items[i];
			else
				end_item(f, b.items[i], NULL, 0);
		}
		if (missing.n == 1)
			try_one(f, missing.items[0], &missing.missing[0]);
		else if (missing.n > 1)
			try_run(f, &missing);
		pthread_mutex_lock(&f->lock);
		f->n_ahead -= b.ahead;
		pthread_cond_signal(&f->more);
		pthread_mutex_unlock(&f->lock);
	}
	return NULL;
}

static void start_worker(struct fill *f)
{
	if (thread_start_detached(work, f) == 0)
		f->n_workers++;
}

int fill_new(struct context *c, struct fill **ret)
{
	struct fill *f = calloc(1, sizeof(*f));
	pthread_condattr_t monotonic;

	if (!f)
		return -ENOMEM;
	f->context = c;
	f->wanted_last = clock_ms();
	pthread_mutex_init(&f->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&f->more, &monotonic);
	*ret = f;
	return 0;
}

/* Puts a span's unit at the end of the queue. What a reader wants is for a reader, whoever wanted it before. The lock
 * is held. */
static int queue_unit(struct fill *f, struct layer_store *layer, uint32_t number, const struct span_unit *unit, bool ahead)
{
	struct item **at = &f->items;
	unsigned int waiting = 0;

	for (; *at; at = &(*at)->next) {
		if ((*at)->layer == layer && (*at)->unit.first == unit->first) {
			f->n_ahead_waiting -= (*at)->ahead && !ahead && !(*at)->taken;
			(*at)->ahead = (*at)->ahead && ahead;
			pthread_cond_signal(&f->more);
			return 0;
		}
		waiting++;
	}
	*at = calloc(1, sizeof(**at));
	if (!*at)
		return -ENOMEM;
	(*at)->layer = layer_store_again(layer);
	(*at)->number = number;
	(*at)->unit = *unit;
	(*at)->memory = span_unit_memory(layer_store_spans(layer), unit);
	(*at)->ahead = ahead;
	f->n_ahead_waiting += ahead;
	if (waiting >= f->n_workers && f->n_workers < WORKERS)
		start_worker(f);
	pthread_cond_signal(&f->more);
	return 0;
}

void fill_ahead(struct fill *f, struct layer_store *layer, uint32_t number, size_t first, size_t n)
{
	const struct span_table *t = layer_store_spans(layer);
	struct span_unit unit;

	pthread_mutex_lock(&f->lock);
	for (size_t i = first, end = first + n; i < end && i < span_table_count(t); i = unit.first + unit.n) {
		struct span_unit missing;
		struct span s;

		span_unit_of(t, i, &unit);
		span_unit_missing(layer, &unit, &missing);
		span_table_get(t, i, &s);
		if (missing.n && f->n_ahead_waiting < AHEAD_MAX && span_table_comes_back(&s))
			(void)queue_unit(f, layer, number, &unit, true);
	}
	pthread_mutex_unlock(&f->lock);
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
		struct span_unit unit;
		struct span span;
		size_t i;

		if (span_table_at(t, off, &i) < 0)
			return span_table_is_foreign(t) ? 0 : -EBADMSG;
		span_table_get(t, i, &span);
		if (span.off < end && !layer_store_has_span(layer, i) && !wanted_present(layer, &span, off, end)) {
			span_unit_of(t, i, &unit);
			r = passing_is(&span) ? passing_want(f->context->passing, layer, need->number, true) :
						queue_unit(f, layer, need->number, &unit, false);
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
		if (r == 0 && queued && f->items && f->n_workers == 0)
			r = -EAGAIN;
		pthread_mutex_unlock(&f->lock);
	}
	if (r < 0 || !queued)
		need_answer(f->context, MSG_DONTWAIT,
			    &(struct need){.kind = r < 0 ? NEED_FAILED : NEED_DONE,
				      .number = need->number,
				      .error = r < 0 ? EIO : 0,
				      .first_page = need->first_page,
				      .n_pages = need->n_pages});
}

bool fill_is_ahead(struct fill *f)
{
	bool any;

	pthread_mutex_lock(&f->lock);
	any = f->ahead_out + f->n_ahead_waiting > 0;
	pthread_mutex_unlock(&f->lock);
	return any;
}

bool fill_has_room(struct fill *f)
{
	uint64_t waiting = 0, most;

	pthread_mutex_lock(&f->lock);
	for (struct item *i = f->items; i; i = i->next)
		waiting += i->ahead && !i->taken ? i->unit.packed_size : 0;
	most = ahead_bytes(f);
	pthread_mutex_unlock(&f->lock);
	return waiting < most;
}

int64_t fill_quiet_ms(struct fill *f)
{
	int64_t now = clock_ms(), ms;

	pthread_mutex_lock(&f->lock);
	for (struct item *i = f->items; i; i = i->next)
		if (!i->ahead)
			f->wanted_last = now;
	ms = now - f->wanted_last;
	pthread_mutex_unlock(&f->lock);
	return ms;
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
