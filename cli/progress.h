/* progress: what the layers of an image are doing, on standard error.
 *
 * On a terminal: one bar a layer that is on its way and one for all, redrawn in place and cleared at the
 * end. Elsewhere (a file, TERM=dumb, NO_COLOR): one line when a layer starts and one when it ends, for
 * commands that ask for it.
 * Layers that were already there are not mentioned: a warm start prints nothing.
 *
 * Ownership  progress_new() hands over; progress_free() clears the bars and ends it.
 * Units      Packed bytes; milliseconds of a monotonic clock.
 * Errors     -ENOMEM. What cannot be written is not written.
 * Threads    One thread.
 * Source     "CSI A", "CSI J": ECMA-48, known to every terminal but dumb ones.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

enum progress_mode {
	PROGRESS_NONE,
	PROGRESS_LINES,
	PROGRESS_BARS,
};

enum progress_state {
	PROGRESS_WAITING,
	PROGRESS_STREAMING,
	PROGRESS_DONE,
	PROGRESS_PRESENT,
};

struct progress_event {
	size_t layer, n_layers;
	const char *digest;
	uint64_t done, total;
	enum progress_state state;
};

struct progress;

/* What standard error is good for. Lines only where they are wanted: those of `run` would stand among the
 * container's own. */
enum progress_mode progress_mode_of_stderr(bool quiet, bool lines);

int progress_new(enum progress_mode mode, struct progress **ret);
void progress_free(struct progress **p);

/* Takes an event in, and writes to standard error what is due. */
int progress_update(struct progress *p, const struct progress_event *event);

/* The two steps of progress_update(), without clock and terminal: for it and for tests. */
int progress_take(struct progress *p, const struct progress_event *event, int64_t now_ms, struct bytes *out);
int progress_draw(struct progress *p, unsigned int columns, unsigned int rows, int64_t now_ms, struct bytes *out);

/* Removes the bars from the screen, for a message that stays. */
int progress_clear(struct progress *p, unsigned int columns, struct bytes *out);
