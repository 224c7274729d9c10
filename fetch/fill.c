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
#include "fetch/fill_queue.h"
#include "fetch/need_answer.h"
#include "fetch/passing.h"
#include "fetch/span_get.h"

#define WORKERS 14u
#define RUN_PAUSE_MS 10000 /* none after one that failed */
#define BEHIND 3u	  /* spans that follow one that a reader waits for, */
#define BEHIND_MAX (512u << 10) /* of so many bytes at most */
#define LONG_RUN 4u	  /* units of one request: who asks for so many reads them all */
#define LOST_MAX 4u	  /* tries of a span whose predecessor does not come */
#define BEFORE_MS 100	  /* the pause of one whose predecessor waits for memory */
#define AGAIN_MS 250	  /* the first pause after a host could not be reached; each is twice the last, */
#define AGAIN_MAX_MS 5000 /* up to this */

struct fill {
	struct context *context;
	pthread_mutex_t lock; /* guards the next seven */
	pthread_cond_t more; /* by the monotonic clock */
	pthread_cond_t released; /* an item that a worker had; by the same clock */
	unsigned int n_waiting; /* for that */
	struct fill_queue queue;
	unsigned int n_workers;
	int64_t wanted_last; /* clock_ms() of the last time that a reader waited */
	char waiting[FILL_WAITING_SIZE]; /* why the last one has to be tried again */
	_Atomic uint64_t spans, bytes;
};

/* It is in. The lock is held. */
static void count_unit(struct fill *f, const struct fill_item *item, const struct span_unit *got)
{
	struct span first;

	span_table_get(layer_store_spans(item->layer), got->first, &first);
	number_table_touch(f->context->numbers, item->number, first.off);
	f->spans += got->n;
	f->bytes += got->packed_size;
	link_rate_count(&f->queue.rate, got->packed_size);
}

/* Each worker that took something wakes the next one, if there is more. The lock is held. */
static void wake(struct fill *f)
{
	if (fill_queue_is_ready(&f->queue))
		pthread_cond_signal(&f->more);
}

/* Waits when there is none. The lock is held. */
static void take_batch(struct fill *f, struct fill_batch *b)
{
	int64_t soonest;

	while (!fill_queue_take(&f->queue, b, &soonest)) {
		const struct timespec until = {soonest / 1000, soonest % 1000 * 1000000};

		if (soonest == INT64_MAX)
			pthread_cond_wait(&f->more, &f->lock);
		else
			pthread_cond_timedwait(&f->more, &f->lock, &until);
	}
	wake(f);
}

/* A worker has done what it could for the item. The lock is held. */
static void note_released(struct fill *f, const struct fill_item *item)
{
	if (!item->ahead)
		f->wanted_last = clock_ms();
	if (span_unit_is_large(item->memory))
		pthread_cond_broadcast(&f->more);
	if (f->n_waiting)
		pthread_cond_broadcast(&f->released);
}

/* What would be decoded behind the item cannot be, either. The lock is held. */
static void end_chain(struct fill *f, const struct fill_item *item, int r)
{
	struct fill_item *next = fill_queue_find(&f->queue, item->layer, item->unit.first + item->unit.n);

	if (next)
		next->before_failed = r;
}

/* To be tried again. The lock is held. */
static void put_back(struct fill *f, struct fill_item *item)
{
	fill_queue_put_back(&f->queue, item);
	note_released(f, item);
	wake(f);
}

/* Out of the queue before the answer: who asks after it must not find the old item. `got`: what came, or NULL. A guess
 * that failed, and that a reader wants meanwhile, is tried for the reader. */
static void end_item(struct fill *f, struct fill_item *item, const struct span_unit *got, int r, bool guess)
{
	struct fill_item done;

	pthread_mutex_lock(&f->lock);
	if (r < 0 && guess && !item->ahead) {
		put_back(f, item);
		pthread_mutex_unlock(&f->lock);
		return;
	}
	if (got)
		count_unit(f, item, got);
	if (r < 0 && !item->ahead)
		end_chain(f, item, r);
	else if (span_get_passes(r))
		fill_queue_guess_failed(&f->queue);
	done = (struct fill_item){.layer = layer_store_again(item->layer), .number = item->number, .unit = item->unit, .ahead = item->ahead};
	note_released(f, item);
	fill_queue_remove(&f->queue, item);
	pthread_mutex_unlock(&f->lock);
	if (r == 0 || !done.ahead)
		need_answer_unit(f->context, done.layer, done.number, &done.unit, r);
	layer_store_free(&done.layer);
}

/* Whether the readers of an item that failed wait on; the worker does not: the next span may have another host. */
static bool try_again(struct fill *f, struct fill_item *item, int r, const char *text)
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
	put_back(f, item);
	pthread_mutex_unlock(&f->lock);
	return true;
}

static void *work(void *argument);

/* The lock is held. */
static int add_span(struct fill *f, struct layer_store *layer, uint32_t number, size_t span, bool ahead)
{
	int r = fill_queue_add(&f->queue, layer, number, span, ahead);

	if (f->queue.n > f->n_workers && f->n_workers < WORKERS && thread_start_detached(work, f) == 0)
		f->n_workers++;
	wake(f);
	return r;
}

struct running {
	struct fill *fill;
	const struct fill_batch *batch;
	struct layer_store *layer;
};

static void end_one_of_run(void *opaque, size_t i)
{
	const struct running *r = opaque;

	end_item(r->fill, r->batch->items[i], &r->batch->missing[i], 0, false);
}

/* There may be room for the next guess. */
static void note_came(void *opaque, size_t i, uint64_t packed)
{
	const struct running *r = opaque;

	pthread_mutex_lock(&r->fill->lock);
	fill_queue_came(&r->fill->queue, r->batch->items[i], packed);
	wake(r->fill);
	pthread_mutex_unlock(&r->fill->lock);
}

/* Who has it waits at most for one that is before it, so all end. */
static void wait_while_taken(void *opaque, size_t span, unsigned int ms)
{
	const struct running *r = opaque;
	struct fill *f = r->fill;
	const struct fill_item *i;
	const int64_t end = clock_ms() + ms;
	const struct timespec until = {end / 1000, end % 1000 * 1000000};
	int timed_out = 0;

	pthread_mutex_lock(&f->lock);
	f->n_waiting++;
	while (!timed_out && (i = fill_queue_find(&f->queue, r->layer, span)) && i->taken)
		timed_out = ms ? pthread_cond_timedwait(&f->released, &f->lock, &until) : pthread_cond_wait(&f->released, &f->lock);
	f->n_waiting--;
	pthread_mutex_unlock(&f->lock);
}

/* A request is saved when the span before a long run is on its way; neither readers nor single guesses wait for that. */
static bool is_taken(void *opaque, size_t span)
{
	const struct running *r = opaque;
	const struct fill_item *i = NULL;
	bool is = false;

	if (!r->batch->ahead || r->batch->n < LONG_RUN)
		return false;
	pthread_mutex_lock(&r->fill->lock);
	i = fill_queue_find(&r->fill->queue, r->layer, span);
	is = i && i->taken;
	pthread_mutex_unlock(&r->fill->lock);
	return is;
}

/* The span before is not here, and nobody fetches it: it was evicted, or did not come. False: once too often. */
static bool try_behind(struct fill *f, struct fill_item *item)
{
	const struct fill_item *before;
	bool again;

	pthread_mutex_lock(&f->lock);
	before = fill_queue_find(&f->queue, item->layer, item->unit.first - 1);
	again = !item->ahead && !item->before_failed && (before || ++item->lost < LOST_MAX) &&
		add_span(f, item->layer, item->number, item->unit.first - 1, false) == 0;
	if (again) {
		item->again = !before ? 0 : before->again > clock_ms() ? before->again : clock_ms() + BEFORE_MS;
		fill_queue_to_end(&f->queue, item); /* behind it */
		put_back(f, item);
	}
	pthread_mutex_unlock(&f->lock);
	return again;
}

static void try_one(struct fill *f, const struct fill_batch *b)
{
	struct fill_item *item = b->items[0];
	const struct span_unit *missing = &b->missing[0];
	const struct span_get_caller caller = {&(struct running){f, b, item->layer}, end_one_of_run, note_came, wait_while_taken, is_taken};
	char text[REPORT_TEXT_SIZE] = "", *outer = report_capture(text);
	int r = span_get(f->context, item->layer, missing, &caller);
	bool ahead;

	report_capture_again(outer);
	if (r == -ENODATA && item->unit.first == 0)
		r = -EIO; /* the operating system's */
	if (r == -ENODATA ? try_behind(f, item) : r < 0 && try_again(f, item, r, text))
		return;
	if (r == -ENODATA)
		snprintf(text, sizeof(text), "layer %s: bytes at %" PRIu64 " need those before them, which did not come",
			 layer_store_key(item->layer), item->unit.packed_off);
	pthread_mutex_lock(&f->lock);
	ahead = item->ahead;
	if (r == -ENODATA && item->before_failed)
		r = item->before_failed;
	pthread_mutex_unlock(&f->lock);
	if (r < 0 && !ahead)
		report_note("%s", text[0] ? text : strerror(-r)); /* the log */
	end_item(f, item, r < 0 ? NULL : missing, r, b->ahead);
}

/* Those that do not come this way are tried one by one. */
static void try_run(struct fill *f, const struct fill_batch *b)
{
	struct layer_store *layer = layer_store_again(b->items[0]->layer);
	const struct span_get_caller caller = {&(struct running){f, b, layer}, end_one_of_run, note_came, wait_while_taken, is_taken};
	size_t n = span_get_run(f->context, layer, b->missing, b->n, &caller);

	layer_store_free(&layer);
	if (n == b->n)
		return;
	pthread_mutex_lock(&f->lock);
	f->queue.no_runs_before = clock_ms() + RUN_PAUSE_MS;
	for (; n < b->n; n++) {
		b->items[n]->alone = true;
		put_back(f, b->items[n]);
	}
	pthread_mutex_unlock(&f->lock);
}

static void *work(void *argument)
{
	struct fill *f = argument;

	for (;;) {
		struct fill_batch b, missing = {0};

		pthread_mutex_lock(&f->lock);
		take_batch(f, &b);
		pthread_mutex_unlock(&f->lock);
		missing.ahead = b.ahead;
		for (size_t i = 0; i < b.n; i++) {
			struct span_unit *m = &missing.missing[missing.n];

			span_unit_missing(b.items[i]->layer, &b.items[i]->unit, m);
			if (m->n)
				missing.items[missing.n++] = b.items[i];
			else
				end_item(f, b.items[i], NULL, 0, false);
		}
		if (missing.n == 1)
			try_one(f, &missing);
		else if (missing.n > 1)
			try_run(f, &missing);
		pthread_mutex_lock(&f->lock);
		fill_queue_end(&f->queue, &b);
		wake(f);
		pthread_mutex_unlock(&f->lock);
	}
	return NULL;
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
	pthread_cond_init(&f->released, &monotonic);
	*ret = f;
	return 0;
}

/* What is missing of a span's unit. The lock is held. */
static void add_ahead(struct fill *f, struct layer_store *layer, uint32_t number, size_t span)
{
	const struct span_table *t = layer_store_spans(layer);
	struct span_unit unit, missing;
	struct span s;

	span_unit_of(t, span, &unit);
	span_unit_missing(layer, &unit, &missing);
	span_table_get(t, span, &s);
	if (missing.n && fill_queue_has_room(&f->queue) && span_table_comes_back(&s))
		(void)add_span(f, layer, number, span, true);
}

void fill_ahead(struct fill *f, struct layer_store *layer, uint32_t number, size_t first, size_t n)
{
	const struct span_table *t = layer_store_spans(layer);
	struct span_unit unit;

	pthread_mutex_lock(&f->lock);
	for (size_t i = first, end = first + n; i < end && i < span_table_count(t); i = unit.first + unit.n) {
		span_unit_of(t, i, &unit);
		add_ahead(f, layer, number, i);
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

/* Programs read on rather than back. */
static int add_wanted(struct fill *f, struct layer_store *layer, uint32_t number, size_t span, bool reads_on)
{
	const struct span_table *t = layer_store_spans(layer);
	const bool expected = !reads_on || span_table_is_foreign(t) || fill_queue_find(&f->queue, layer, span);
	int r = add_span(f, layer, number, span, false);
	struct span wanted, s;

	span_table_get(t, span, &wanted);
	for (size_t i = span + 1; r == 0 && !expected && i <= span + BEHIND && i < span_table_count(t); i++) {
		span_table_get(t, i, &s);
		if (s.off + s.size - (wanted.off + wanted.size) > BEHIND_MAX)
			break;
		add_ahead(f, layer, number, i);
	}
	return r;
}

static int queue_missing(struct fill *f, struct layer_store *layer, const struct need *need, bool reads_on, bool *ret_queued)
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
			r = passing_is(&span) ? passing_want(f->context->passing, layer, need->number, true) :
						add_wanted(f, layer, need->number, i, reads_on);
			*ret_queued = true;
		}
		off = span.off + span.size;
	}
	return r;
}

void fill_need(struct fill *f, const struct need *need, bool reads_on)
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
		r = queue_missing(f, layer, need, reads_on, &queued);
		if (r == 0 && queued && f->queue.items && f->n_workers == 0)
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
	any = fill_queue_is_ahead(&f->queue);
	pthread_mutex_unlock(&f->lock);
	return any;
}

bool fill_has_room(struct fill *f)
{
	bool has;

	pthread_mutex_lock(&f->lock);
	has = fill_queue_wants_more(&f->queue);
	pthread_mutex_unlock(&f->lock);
	return has;
}

int64_t fill_quiet_ms(struct fill *f)
{
	int64_t now = clock_ms(), ms;

	pthread_mutex_lock(&f->lock);
	for (const struct fill_item *i = f->queue.items; i; i = i->next)
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
	for (const struct fill_item *i = f->queue.items; i && !any; i = i->next)
		any = i->tries > 0;
	snprintf(ret, FILL_WAITING_SIZE, "%s", any ? f->waiting : "");
	pthread_mutex_unlock(&f->lock);
}
