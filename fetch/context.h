/* context: what all parts of the fetcher share.
 *
 * Ownership  context_new() hands over; it lives as long as the process.
 * Units      -
 * Errors     Reported.
 * Threads    Each table has its own lock.
 * Source     -
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/digest.h"
#include "cache/store.h"
#include "fetch/fetcher.h"
#include "fetch/holds.h"
#include "fetch/layer_table.h"
#include "fetch/need.h"
#include "fetch/source_table.h"

struct context {
	const struct fetcher_setup *setup;
	const struct store *store;
	struct number_table *numbers;
	struct transport *transport;
	struct source_table *sources;
	struct layer_table *layers;
	struct holds *holds;
	struct lazy_packs *packs; /* start packs on their way */
	struct first_touches *touches; /* what starts need, for the next ones */
	struct passing *passing; /* layers whose blobs pass by */
	struct background *background; /* what is filled when no reader waits */
	atomic_uint n_evicted; /* how often bytes went: who guesses begins anew */
	unsigned int n_cores;
	atomic_bool offline; /* nothing is asked of any registry: what a command said last */
	_Atomic uint32_t read_timeout; /* seconds that readers wait for a host that is away: what a command said last */
	uint64_t budget; /* bytes of the disk; UINT64_MAX: none */
	pthread_mutex_t store_lock; /* numbering, evicting and removing: one at a time; guards pending */
	struct pending *pending;
	pthread_rwlock_t ensure_lock; /* shared by who makes an image, from its first blob to its name; gc has it alone */

	pthread_mutex_t flight_lock; /* guards flights and waiting */
	pthread_cond_t flight_moved;
	struct flight *flights, *waiting;
};

int context_new(const struct fetcher_setup *setup, struct context **ret);

/* An image that a request is about to need: removing another one leaves its layers and blobs. */
struct pending {
	struct pending *next;
	const struct image *image;
};
void context_add_pending(struct context *c, struct pending *p);
void context_remove_pending(struct context *c, struct pending *p);

/* A packet to the server about a removed number. The lock of the store may be held: a server that is stopped is
 * not waited for long, and then keeps the number until it ends. */
void context_tell_server(const struct context *c, enum need_kind kind, uint32_t number);

/* One streaming of a blob at a time, whoever wants it: waits for the one before. */
struct flight {
	struct flight *next;
	struct digest blob;
	char layer_key[LAYER_KEY_SIZE];
	const atomic_bool *gone; /* set when nobody wants it any more; NULL: never */
};
/* -ECANCELED, bare: *gone was set while it waited, it is not entered. */
int context_enter_flight(struct context *c, struct flight *f);
void context_leave_flight(struct context *c, struct flight *f);
/* Whether somebody else waits for this one to end: then it is not for us alone to end it early. */
bool context_flight_is_wanted(struct context *c, const struct digest *blob);
/* Some `gone` was set: those who wait look again. */
void context_wake_flights(struct context *c);
/* Whether this layer is being streamed. The flight_lock is held. */
bool context_in_flight(const struct context *c, const char *layer_key);
