/* fill: brings back the pages that readers wait for, one download a span, neighbours with one request.
 *
 * Ownership  fill_new() hands over; it lives as long as the process.
 * Units      Pages of the layer file in packets, spans inside.
 * Errors     What a reader gets is in NEED_FAILED; the reason is reported (the log).
 * Threads    fill_need() and fill_ahead() are called by any and never wait; workers of its own fetch.
 * Source     docs/design.md, "The processes": a parked read is answered when its bits are set.
 */
#pragma once

#include "fetch/context.h"
#include "fetch/need.h"

struct fill;

int fill_new(struct context *c, struct fill **ret);

/* Queues what is missing of the pages; NEED_DONE follows when they are there, at once if they are. `reads_on`: what lies
 * behind them is expected, too. */
void fill_need(struct fill *f, const struct need *need, bool reads_on);

/* Queues `n` spans from `first` on that nobody waits for, behind all that somebody does. What fails is forgotten. */
void fill_ahead(struct fill *f, struct layer_store *layer, uint32_t number, size_t first, size_t n);

/* Whether any of those is queued or on its way, and whether few enough wait that more should be. */
bool fill_is_ahead(struct fill *f);
bool fill_has_room(struct fill *f);

/* Since when no reader has waited; 0: one does. Milliseconds. */
int64_t fill_quiet_ms(struct fill *f);

/* Spans fetched and bytes of them since the start. */
void fill_counters(struct fill *f, uint64_t *ret_spans, uint64_t *ret_bytes);

/* Why spans that readers wait for have to be tried again; "" when there are none. */
#define FILL_WAITING_SIZE 512
void fill_waiting(struct fill *f, char ret[static FILL_WAITING_SIZE]);
