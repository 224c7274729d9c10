/* passing: a layer whose blob cannot be entered in its middle (one large zstd frame) is filled while the whole blob passes
 * by; each span is checked against the artifact's table and shown as soon as it has passed.
 *
 * Ownership  passing_new() hands over; it lives as long as the process. A layer is kept for as long as it is filled.
 * Units      Pages of the layer file in packets to the server.
 * Errors     What readers get is in NEED_FAILED; the reason is reported (the log).
 * Threads    Any; one thread for each layer that is being filled.
 * Source     docs/design.md, "Our own artifact".
 */
#pragma once

#include <stdbool.h>

#include "fetch/context.h"

struct passing;

int passing_new(struct context *c, struct passing **ret);

/* Whether this span is one of those. */
bool passing_is(const struct span *s);

/* Begins, or goes on. `reader`: one waits, and hears NEED_DONE or NEED_FAILED; else a start pack comes first. */
int passing_want(struct passing *p, struct layer_store *layer, uint32_t number, bool reader);

/* Whether it is being filled. */
bool passing_runs(struct passing *p, const char *layer_key);
