/* idle: what the fetcher does when nobody asks for anything: a plain list of steps, in a thread made for each round.
 *
 * Ownership  idle_new() hands over; it lives as long as the process.
 * Units      -
 * Errors     Reported (the log); the next round tries again.
 * Threads    idle_tick() and idle_last() are called by the main loop. The steps take the context's locks.
 * Source     docs/design.md, "The cache": nothing on the way of a start waits for the disk.
 */
#pragma once

#include "fetch/context.h"
#include "fetch/fill.h"
#include "fetch/requests.h"

struct idle;

int idle_new(struct context *c, struct requests *requests, struct fill *fill, struct idle **ret);

/* About once a second. Never waits. */
void idle_tick(struct idle *i);

/* The fetcher is told to end: what a crash of the machine must not take away is done now. */
void idle_last(struct idle *i);
