/* The steps stand in run_steps(), in order. */
#include "fetch/idle.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/report.h"
#include "base/thread.h"
#include "fetch/budget.h"
#include "fetch/sync_step.h"
#include "fetch/way_back.h"

#define QUIET_MS 2000 /* nothing was asked for so long: idle */

struct idle {
	struct context *context;
	struct requests *requests;
	struct fill *fill;
	uint64_t work_seen;   /* requests and spans so far, at the last tick */
	int64_t busy_last;    /* clock_ms() of the last tick at which something was done */
	bool round_due;	      /* something was done since the last whole round */
	atomic_bool whole;    /* the present round goes through all steps, not only the budget */
	atomic_bool running;  /* a thread is at it */
	atomic_bool busy;     /* somebody asks again: the thread leaves after its present step */
};

int idle_new(struct context *c, struct requests *requests, struct fill *fill, struct idle **ret)
{
	struct idle *i = calloc(1, sizeof(*i));

	if (!i)
		return -ENOMEM;
	i->context = c;
	i->requests = requests;
	i->fill = fill;
	i->busy_last = clock_ms();
	i->round_due = true; /* a fetcher that was killed may have left something */
	*ret = i;
	return 0;
}

/* Each step may be interrupted at any instruction, and is done again from its start in the next round. */
static void run_steps(struct idle *i)
{
	way_back_step(i->context, &i->busy);
	sync_step(i->context, &i->busy);
}

static void *run(void *argument)
{
	struct idle *i = argument;

	budget_hold(i->context);
	if (atomic_load(&i->whole))
		run_steps(i);
	atomic_store(&i->running, false);
	return NULL;
}

static bool something_was_done(struct idle *i)
{
	uint64_t spans, bytes, seen;
	bool running = requests_work(i->requests, &seen), done;

	fill_counters(i->fill, &spans, &bytes);
	seen += spans;
	done = running || seen != i->work_seen;
	i->work_seen = seen;
	return done;
}

static void start(struct idle *i, bool whole)
{
	atomic_store(&i->whole, whole);
	atomic_store(&i->running, true);
	if (thread_start_detached(run, i) < 0)
		atomic_store(&i->running, false);
	else if (whole)
		i->round_due = false;
}

void idle_tick(struct idle *i)
{
	bool busy = something_was_done(i);

	atomic_store(&i->busy, busy);
	if (busy) {
		i->busy_last = clock_ms();
		i->round_due = true;
	}
	if (atomic_load(&i->running))
		return;
	if (busy)
		start(i, false); /* bytes came, perhaps too many */
	else if (i->round_due && clock_ms() - i->busy_last >= QUIET_MS)
		start(i, true);
}

/* The supervisor waits a little, then kills: what is not done by then is fetched again after a crash. */
void idle_last(struct idle *i)
{
	atomic_bool never = false;

	atomic_store(&i->busy, true);
	while (atomic_load(&i->running))
		usleep(1000);
	sync_step(i->context, &never);
}
