/* Tried out: a part by one connection, one by two, one by four; the rest as what was the fastest for the whole link. */
#include "fetch/wide.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/report.h"
#include "base/thread.h"
#include "fetch/transport.h"

#define CONNECTIONS_MAX 4u
#define PIECE (UINT64_C(4) << 20) /* one for each connection in memory */
#define TRIAL (UINT64_C(16) << 20)
#define WIDE_LEAST (4 * TRIAL)
#define FAST 100000u /* bytes a millisecond: one connection is enough for a link like that */

static atomic_bool busy;

/* A part of the blob that several connections bring. */
struct part {
	struct registry *registry;
	const struct descriptor *descriptor;
	struct transport_watch *watch;
	int fd;
	uint64_t to;
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t moved;
	uint64_t next; /* to be asked for */
	uint64_t at; /* the file is good up to here */
	bool failed; /* who streams from there on says why */
};

static bool take_piece(struct part *p, uint64_t *ret_off, size_t *ret_size)
{
	bool any;

	pthread_mutex_lock(&p->lock);
	any = !p->failed && p->next < p->to;
	*ret_off = p->next;
	*ret_size = (size_t)(p->to - p->next < PIECE ? p->to - p->next : PIECE);
	if (any)
		p->next += *ret_size;
	pthread_mutex_unlock(&p->lock);
	return any;
}

/* When all before it is in the file. */
static void put_piece(struct part *p, uint64_t off, size_t size, const void *bytes)
{
	pthread_mutex_lock(&p->lock);
	while (!p->failed && p->at != off)
		pthread_cond_wait(&p->moved, &p->lock);
	if (!p->failed && bytes && fd_pwrite_full(p->fd, bytes, size, off) == 0) {
		p->at += size;
		pthread_mutex_lock(&p->watch->lock);
		p->watch->position = p->at;
		pthread_cond_broadcast(&p->watch->moved);
		pthread_mutex_unlock(&p->watch->lock);
	} else {
		p->failed = true;
	}
	pthread_cond_broadcast(&p->moved);
	pthread_mutex_unlock(&p->lock);
}

static void *get_pieces(void *argument)
{
	_cleanup_(fd_free_memory) char *bytes = malloc(PIECE);
	char text[REPORT_TEXT_SIZE], *outer = report_capture(text);
	struct part *p = argument;
	uint64_t off;
	size_t size;

	while (take_piece(p, &off, &size)) {
		bool here = bytes && registry_get_piece(p->registry, p->descriptor, off, size, p->watch, bytes) == 0;

		put_piece(p, off, size, here ? bytes : NULL);
	}
	report_capture_again(outer);
	return NULL;
}

/* *at says how far it came. */
static void get_part(struct registry *g, const struct descriptor *d, int fd, uint64_t *at, uint64_t to, unsigned int n,
		     struct transport_watch *watch)
{
	struct part p = {.registry = g, .descriptor = d, .watch = watch, .fd = fd, .to = to, .next = *at, .at = *at};
	pthread_t threads[CONNECTIONS_MAX];
	unsigned int n_threads = 0;

	pthread_mutex_init(&p.lock, NULL);
	pthread_cond_init(&p.moved, NULL);
	while (n_threads + 1 < n && thread_start(&threads[n_threads], get_pieces, &p) == 0)
		n_threads++;
	get_pieces(&p);
	for (unsigned int i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	pthread_cond_destroy(&p.moved);
	pthread_mutex_destroy(&p.lock);
	*at = p.at;
}

/* One part by n connections; *ret_rate is what came meanwhile through all connections, of others too: bytes a
 * millisecond. */
static int measure(struct registry *g, const struct descriptor *d, int fd, uint64_t *at, unsigned int n,
		   struct transport_watch *watch, uint64_t *ret_rate)
{
	struct transport_counters before, after;
	int64_t begun = clock_ms();
	uint64_t from = *at;
	int r = 0;

	transport_counters(registry_transport(g), &before);
	if (n == 1)
		r = registry_stream(g, d, fd, at, from + TRIAL, watch);
	else
		get_part(g, d, fd, at, from + TRIAL, n, watch);
	transport_counters(registry_transport(g), &after);
	*ret_rate = (after.body_bytes - before.body_bytes) / (uint64_t)(clock_ms() - begun + 1);
	return r;
}

static int try_widths(struct registry *g, const struct descriptor *d, int fd, uint64_t *at, struct transport_watch *watch)
{
	uint64_t best_rate, rate, from;
	unsigned int best = 1;
	int r = measure(g, d, fd, at, 1, watch, &best_rate);

	for (unsigned int n = 2; r == 0 && n <= CONNECTIONS_MAX && best_rate < FAST && d->size - *at >= 2 * TRIAL; n *= 2) {
		from = *at;
		r = measure(g, d, fd, at, n, watch, &rate);
		if (r < 0 || *at != from + TRIAL)
			return r; /* what failed side by side is streamed */
		if (rate < best_rate / 8 * 9)
			break;
		best_rate = rate;
		best = n;
	}
	if (r == 0 && best > 1)
		get_part(g, d, fd, at, d->size, best, watch);
	return r;
}

int wide_stream(struct registry *g, const struct descriptor *d, int fd, uint64_t from, struct transport_watch *watch)
{
	uint64_t at = from;
	int r = 0;

	if (d->size - from >= WIDE_LEAST && !atomic_exchange(&busy, true)) {
		r = try_widths(g, d, fd, &at, watch);
		atomic_store(&busy, false);
	}
	return r < 0 ? r : registry_stream(g, d, fd, &at, d->size, watch);
}
