/* fill_queue: the units of spans that are wanted, and which of them are fetched next.
 *
 * Readers' before all that nobody waits for; of that only so much at once that a reader's is not held up behind it. What lies
 * one behind the other in a blob goes with one request. A span that is decoded behind the one before it stands behind it.
 *
 * Ownership  The queue has its items, each with a reference to its layer; a batch borrows them until each is removed
 *            or put back.
 * Units      Packed bytes; milliseconds of clock_ms().
 * Errors     -ENOMEM, bare.
 * Threads    The caller's lock guards all of it.
 * Source     docs/design.md, "What is fetched before it is asked for".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/layer_store.h"
#include "fetch/link_rate.h"
#include "fetch/span_unit.h"

struct fill_item {
	struct fill_item *next;
	struct layer_store *layer; /* a reference */
	uint32_t number; /* of the layer */
	struct span_unit unit;
	uint64_t memory; /* span_unit_memory() */
	bool taken; /* a worker has it */
	bool ahead; /* no reader waits for it */
	bool counted; /* among the bytes of ahead_out, */
	uint64_t came; /* without these */
	bool alone; /* a request for it and others failed */
	int64_t again; /* not before: its host could not be reached */
	int64_t deadline; /* of the readers' patience with that, 0: it was not tried yet */
	unsigned int tries;
	unsigned int lost; /* how often the span before it, which it is decoded behind, did not come */
	int before_failed; /* negative errno: that will not come; 0: it may */
};

/* All 0 is an empty one. */
struct fill_queue {
	struct fill_item *items; /* oldest first */
	size_t n;
	uint64_t memory_out; /* what the large items that are taken may use */
	unsigned int n_ahead; /* batches that are taken for nobody */
	unsigned int n_out; /* items that are taken for nobody, */
	uint64_t ahead_out; /* the packed bytes of those that have not come yet, */
	unsigned int n_coming; /* those of which some have, */
	int64_t came_last; /* and when: clock_ms() */
	int64_t no_more_before; /* one of them has just failed */
	unsigned int n_ahead_waiting, n_wanted_waiting; /* for a worker */
	struct link_rate rate; /* of what comes: the caller counts it */
	int64_t no_runs_before; /* the next request for several */
};

/* What a worker has taken: one item, or several for one request, in the order of the blob. */
#define FILL_BATCH_MAX 64u
struct fill_batch {
	size_t n;
	bool ahead; /* its first is */
	struct fill_item *items[FILL_BATCH_MAX];
	struct span_unit missing[FILL_BATCH_MAX]; /* of the items: the worker's */
};

/* Puts a span's unit at the end, and before it those that it cannot be decoded without. What a reader wants is for a
 * reader, whoever wanted it before. */
int fill_queue_add(struct fill_queue *q, struct layer_store *layer, uint32_t number, size_t span, bool ahead);

/* The one that begins with this span; NULL: there is none. */
struct fill_item *fill_queue_find(const struct fill_queue *q, const struct layer_store *layer, size_t first);

/* The oldest whose time has come, and those that lie behind it and are wanted too. False: none, before *ret_soonest. */
bool fill_queue_take(struct fill_queue *q, struct fill_batch *ret, int64_t *ret_soonest);
void fill_queue_end(struct fill_queue *q, const struct fill_batch *b);

/* Whether there may be something to be taken. */
bool fill_queue_is_ready(const struct fill_queue *q);

/* Whether anything that nobody waits for is queued, or is not in its layer yet. */
bool fill_queue_is_ahead(const struct fill_queue *q);

/* The host of one of those is away: for a moment there is no room for more, or all of them would fail. */
void fill_queue_guess_failed(struct fill_queue *q);

/* So many packed bytes of a taken one have come. */
void fill_queue_came(struct fill_queue *q, struct fill_item *item, uint64_t packed);

/* No worker has it any more: it is done, or to be taken again. */
void fill_queue_remove(struct fill_queue *q, struct fill_item *item);
void fill_queue_put_back(struct fill_queue *q, struct fill_item *item);
void fill_queue_to_end(struct fill_queue *q, struct fill_item *item);

/* Whether there is room for more that nobody waits for: as units, and as bytes that wait for the link. */
bool fill_queue_has_room(const struct fill_queue *q);
bool fill_queue_wants_more(const struct fill_queue *q);
