/* A list; few of its items are many, and they are looked at while a request is on its way. */
#include "fetch/fill_queue.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

#define AHEAD_WORKERS 8u /* at most, for what nobody waits for: what they have asked for is on the wire before what a
			    reader asks next, */
#define AHEAD_MS 80u	 /* so the next is asked for when no more is to come than the link brings in this time, */
#define AHEAD_LEAST (1u << 20) /* or this many packed bytes, */
#define AHEAD_MOST (4u << 20)	 /* and never more than these */
#define AHEAD_BLIND 3u /* as long as nothing comes at all so many requests go side by side, however large */
#define STALL_MS 1000 /* what has brought nothing for so long does not come */
#define FAILED_MS 1000 /* no more is asked for so long after one that failed */
#define AHEAD_MAX 1024u	 /* units that wait for a worker */
#define RUN_SHARE 2u	 /* a request is for this part of what may be on the wire ahead of a reader */
#define RUN_GAP (16u << 10) /* packed bytes between two units that cost less than a request */

/* What may be on the wire ahead of a reader. */
static uint64_t ahead_bytes(const struct fill_queue *q)
{
	uint64_t n = link_rate_in(&q->rate, AHEAD_MS);

	return n < AHEAD_LEAST ? AHEAD_LEAST : n > AHEAD_MOST ? AHEAD_MOST : n;
}

void fill_queue_came(struct fill_queue *q, struct fill_item *item, uint64_t packed)
{
	const uint64_t came = packed < item->unit.packed_size ? packed : item->unit.packed_size;

	if (!item->counted)
		return;
	if (came > item->came)
		q->came_last = clock_ms();
	q->ahead_out -= came - item->came;
	q->n_coming += (came > 0) - (item->came > 0);
	item->came = came;
}

static void release(struct fill_queue *q, struct fill_item *item)
{
	fill_queue_came(q, item, item->unit.packed_size);
	q->n_coming -= item->counted && item->came > 0;
	q->n_out -= item->counted;
	if (item->taken && span_unit_is_large(item->memory))
		q->memory_out -= item->memory;
	item->counted = false;
	item->taken = false;
}

static void unlink_item(struct fill_queue *q, const struct fill_item *item)
{
	struct fill_item **at = &q->items;

	while (*at != item)
		at = &(*at)->next;
	*at = item->next;
}

static void append(struct fill_queue *q, struct fill_item *item)
{
	struct fill_item **at = &q->items;

	while (*at)
		at = &(*at)->next;
	item->next = NULL;
	*at = item;
}

void fill_queue_remove(struct fill_queue *q, struct fill_item *item)
{
	unlink_item(q, item);
	q->n--;
	release(q, item);
	layer_store_free(&item->layer);
	free(item);
}

void fill_queue_put_back(struct fill_queue *q, struct fill_item *item)
{
	release(q, item);
	q->n_ahead_waiting += item->ahead;
	q->n_wanted_waiting += !item->ahead;
}

void fill_queue_to_end(struct fill_queue *q, struct fill_item *item)
{
	unlink_item(q, item);
	append(q, item);
}

struct fill_item *fill_queue_find(const struct fill_queue *q, const struct layer_store *layer, size_t first)
{
	for (struct fill_item *i = q->items; i; i = i->next)
		if (i->layer == layer && i->unit.first == first)
			return i;
	return NULL;
}

static int add_unit(struct fill_queue *q, struct layer_store *layer, uint32_t number, const struct span_unit *unit, bool ahead)
{
	struct fill_item *item = fill_queue_find(q, layer, unit->first);

	if (item) {
		if (item->ahead && !ahead && !item->taken) {
			q->n_ahead_waiting--;
			q->n_wanted_waiting++;
		}
		if (item->ahead && !ahead)
			item->before_failed = 0; /* the span before is tried for this reader, too */
		item->ahead = item->ahead && ahead;
		return 0;
	}
	item = calloc(1, sizeof(*item));
	if (!item)
		return -ENOMEM;
	item->layer = layer_store_again(layer);
	item->number = number;
	item->unit = *unit;
	item->memory = span_unit_memory(layer_store_spans(layer), unit);
	item->ahead = ahead;
	append(q, item);
	q->n++;
	q->n_ahead_waiting += ahead;
	q->n_wanted_waiting += !ahead;
	return 0;
}

int fill_queue_add(struct fill_queue *q, struct layer_store *layer, uint32_t number, size_t span, bool ahead)
{
	size_t first = span;
	int r = 0;

	while (span_unit_needs_before(layer, first))
		first--;
	for (; r == 0 && first <= span; first++) {
		struct span_unit unit;

		span_unit_of(layer_store_spans(layer), first, &unit);
		r = add_unit(q, layer, number, &unit, ahead);
	}
	return r;
}

/* Large ones take turns, so that a hostile layer's spans never fill the memory; those that are not never wait for
 * them. */
static bool may_begin(const struct fill_queue *q, const struct fill_item *i, bool *large_waits)
{
	if (span_unit_is_large(i->memory) && (*large_waits || !span_unit_fits(i->memory, q->memory_out))) {
		*large_waits = true; /* no later one overtakes it */
		return false;
	}
	return true;
}

static bool may_go_ahead(const struct fill_queue *q)
{
	const bool comes = q->n_coming > 0 && clock_ms() - q->came_last < STALL_MS;

	return q->n_ahead < AHEAD_WORKERS && (q->ahead_out < ahead_bytes(q) || (!comes && q->n_ahead < AHEAD_BLIND));
}

bool fill_queue_is_ready(const struct fill_queue *q)
{
	return q->n_wanted_waiting > 0 || (q->n_ahead_waiting > 0 && may_go_ahead(q));
}

static struct fill_item *find_item(const struct fill_queue *q, int64_t *ret_soonest)
{
	struct fill_item *ahead = NULL;
	int64_t now = clock_ms();
	bool large_waits = false;

	*ret_soonest = INT64_MAX;
	for (struct fill_item *i = q->items; i; i = i->next) {
		if (i->taken || (i->again <= now && !may_begin(q, i, &large_waits)))
			continue; /* for memory: it is signalled */
		if (i->ahead)
			ahead = ahead ? ahead : i;
		else if (i->again <= now)
			return i;
		else if (i->again < *ret_soonest)
			*ret_soonest = i->again;
	}
	if (!ahead || may_go_ahead(q))
		return ahead;
	if (q->n_ahead < AHEAD_BLIND && q->came_last + STALL_MS < *ret_soonest)
		*ret_soonest = q->came_last + STALL_MS;
	return NULL;
}

static void take_item(struct fill_queue *q, struct fill_item *i)
{
	i->taken = true;
	if (span_unit_is_large(i->memory))
		q->memory_out += i->memory;
	i->counted = i->ahead;
	i->came = 0;
	q->n_out += i->counted;
	q->n_ahead_waiting -= i->ahead;
	q->n_wanted_waiting -= !i->ahead;
	if (i->counted)
		q->ahead_out += i->unit.packed_size;
}

static struct span first_span(const struct fill_item *i)
{
	struct span s;

	span_table_get(layer_store_spans(i->layer), i->unit.first, &s);
	return s;
}

static bool may_share(const struct fill_item *i)
{
	const struct span s = first_span(i);

	return !i->alone && i->tries == 0 && !span_unit_is_large(i->memory) && span_table_comes_back(&s);
}

/* A checkpoint's window is known when the span before it is here. */
static bool follows(const struct fill_item *i, const struct fill_item *next)
{
	const uint64_t end = i->unit.packed_off + i->unit.packed_size;
	const struct span s = first_span(next);

	if (next->unit.packed_off > end + RUN_GAP)
		return false;
	if (next->unit.first == i->unit.first + i->unit.n)
		return next->unit.packed_off > i->unit.packed_off;
	return next->unit.packed_off >= end && s.window_size == 0 && s.window_is != SPAN_WINDOW_BEFORE;
}

static struct fill_item *find_next(const struct fill_queue *q, const struct fill_batch *b, uint64_t most)
{
	const struct fill_item *last = b->items[b->n - 1];
	const uint64_t from = b->items[0]->unit.packed_off;

	for (struct fill_item *i = q->items; i; i = i->next) {
		if (i->taken || i->layer != last->layer || !follows(last, i) || !may_share(i))
			continue;
		/* A request does not end between two that are decoded one behind the other. */
		if (i->unit.packed_off + i->unit.packed_size - from <= (first_span(i).window_is == SPAN_WINDOW_BEFORE ? 2 * most : most))
			return i;
	}
	return NULL;
}

bool fill_queue_take(struct fill_queue *q, struct fill_batch *ret, int64_t *ret_soonest)
{
	struct fill_item *i = find_item(q, ret_soonest);

	if (!i)
		return false;
	*ret = (struct fill_batch){.n = 1, .ahead = i->ahead, .items = {i}};
	q->n_ahead += ret->ahead;
	take_item(q, i);
	if (!may_share(i) || clock_ms() < q->no_runs_before)
		return true;
	while (ret->n < FILL_BATCH_MAX && (i = find_next(q, ret, ahead_bytes(q) / RUN_SHARE))) {
		ret->items[ret->n++] = i;
		take_item(q, i);
	}
	return true;
}

void fill_queue_end(struct fill_queue *q, const struct fill_batch *b)
{
	q->n_ahead -= b->ahead;
}

bool fill_queue_is_ahead(const struct fill_queue *q)
{
	return q->n_out + q->n_ahead_waiting > 0;
}

void fill_queue_guess_failed(struct fill_queue *q)
{
	q->no_more_before = clock_ms() + FAILED_MS;
}

bool fill_queue_has_room(const struct fill_queue *q)
{
	return q->n_ahead_waiting < AHEAD_MAX;
}

bool fill_queue_wants_more(const struct fill_queue *q)
{
	uint64_t waiting = 0;

	for (const struct fill_item *i = q->items; i; i = i->next)
		waiting += i->ahead && !i->taken ? i->unit.packed_size : 0;
	return waiting < ahead_bytes(q) && clock_ms() >= q->no_more_before;
}
