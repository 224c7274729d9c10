/* beside: something done in a thread of its own, beside what its beginner does; its result and what it reports are kept.
 *
 * Ownership  A plain value of the beginner's, all zero at first; it stays where it is until beside_end().
 * Units      -
 * Errors     beside_begin() has none: without a thread all is done at once, by the caller.
 * Threads    A beside is its beginner's.
 * Source     -
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "base/report.h"

struct beside {
	int (*work)(void *argument);
	void *argument;
	pthread_t thread;
	bool running; /* the thread is to be joined */
	int result; /* these two are good behind beside_end() */
	char text[REPORT_TEXT_SIZE]; /* "": nothing was reported */
};

void beside_begin(struct beside *b, int (*work)(void *argument), void *argument);

/* Waits for it. Returns its result, bare: 0 also for what never began. */
int beside_end(struct beside *b);
/* The same, and its text is reported here. */
int beside_report(struct beside *b);

/* For who is such a thread already, and whom nobody waits for: what goes wrong is a line of the log, "WHAT: why". */
void beside_note(const char *what, int (*work)(void *argument), void *argument);
