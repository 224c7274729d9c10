/* need_answer: tells the server what became of pages that it asked for.
 *
 * Ownership  Borrows everything for the call.
 * Units      Pages, spans.
 * Errors     None: the server asks again after a while, and every packet is only "look again".
 * Threads    Any.
 * Source     fetch/need.h.
 */
#pragma once

#include "fetch/context.h"
#include "fetch/need.h"
#include "fetch/span_unit.h"

/* MSG_DONTWAIT in `flags`: a server whose socket is full is not waited for. */
void need_answer(const struct context *c, int flags, const struct need *need);

/* Of a unit's spans; r: 0, or a negative errno, which only readers of those hear that are not here. */
void need_answer_unit(const struct context *c, const struct layer_store *layer, uint32_t number, const struct span_unit *unit, int r);
