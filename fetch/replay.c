/* The profile is cut into windows; each is sorted by place, and put into fill's queue when little of the last is left. */
#include "fetch/replay.h"

#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "base/thread.h"
#include "fetch/span_unit.h"

#define WINDOW 32u    /* units that are sorted by place: so far may one overtake another */
#define LOOK_MS 2
#define WAIT_MS 30000 /* for fill to come on */

struct place {
	uint32_t layer;
	size_t first, n; /* spans */
};

void replay_free(struct replay **replay)
{
	struct replay *r = *replay;

	if (!r)
		return;
	for (size_t i = 0; i < LIMIT_LAYERS; i++)
		layer_store_free(&r->layers[i].store);
	free(r->runs);
	free(r);
	*replay = NULL;
}

static int by_place(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	return x->first < y->first ? -1 : x->first > y->first;
}

/* False: it is over. */
static bool wait_for_room(const struct replay *r)
{
	int64_t deadline = clock_ms() + WAIT_MS;

	while (atomic_load(r->ended) == r->began && !atomic_load(&r->context->offline)) {
		const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};

		if (fill_has_room(r->fill))
			return true;
		if (clock_ms() > deadline)
			return false;
		nanosleep(&pause, NULL);
	}
	return false;
}

/* The missing units of a run; several runs may name the same. */
static int take_units(const struct replay *r, const struct profile_run *run, struct bytes *places)
{
	const struct layer_store *layer = r->layers[run->layer].store;
	const struct span_table *t = layer_store_spans(layer);
	uint64_t off = run->first * LAYER_PAGE, end = off + run->n * (uint64_t)LAYER_PAGE;
	int error = 0;
	size_t at;

	while (error == 0 && off < end && off < layer_store_size(layer) && span_table_at(t, off, &at) == 0) {
		struct span_unit unit, missing;
		struct span last;

		span_table_get(t, at, &last);
		if (last.off >= end)
			break; /* zeros between another format's spans */
		span_unit_of(t, at, &unit);
		span_table_get(t, unit.first + unit.n - 1, &last);
		off = last.off + last.size;
		span_unit_missing(layer, &unit, &missing);
		if (missing.n)
			error = bytes_append(places, &(struct place){run->layer, unit.first, unit.n}, sizeof(struct place));
	}
	return error;
}

static void ask(const struct replay *r, struct place *window, size_t n)
{
	qsort(window, n, sizeof(*window), by_place);
	for (size_t i = 0; i < n; i++) {
		const struct replay_layer *l = &r->layers[window[i].layer];

		fill_ahead(r->fill, l->store, l->number, window[i].first, window[i].n);
	}
}

static void *run(void *argument)
{
	struct replay *r = argument;
	_cleanup_(bytes_free) struct bytes places = {0};
	struct place *all;
	size_t n, i;

	for (i = 0; i < r->n_runs; i++)
		if (r->layers[r->runs[i].layer].store && take_units(r, &r->runs[i], &places) < 0)
			break;
	all = (struct place *)(void *)places.data;
	n = places.size / sizeof(*all);
	for (i = 0; i < n && wait_for_room(r); i += WINDOW)
		ask(r, all + i, n - i < WINDOW ? n - i : WINDOW);
	if (i > 0)
		report_note("asked early for %zu parts that an earlier start needed", i < n ? i : n);
	replay_free(&r);
	return NULL;
}

void replay_begin(struct replay **replay)
{
	struct replay *r = TAKE(*replay);

	if (thread_start_detached(run, r) < 0)
		replay_free(&r);
}
