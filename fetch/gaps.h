/* gaps: which spans of a large file probably follow those that were touched.
 *
 * A program that is mapped jumps about in its code, but what it jumps about in hangs together: between two touched
 * spans near each other hardly any stays untouched, and far from all touched ones nearly all do. And what is read one
 * span after the other, whoever else reads meanwhile, is read on.
 *
 * Ownership  The caller has the marks: a byte for each span of the layer, 0 at first.
 * Units      Spans by their number; bytes of the layer file.
 * Errors     None.
 * Threads    The caller's.
 * Source     docs/design.md, "What is fetched before it is asked for".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "format/span_table.h"

struct gap {
	size_t first, n; /* n is 0: none */
};

enum gap_kind { GAP_BEFORE, GAP_BEHIND, GAP_NEXT, GAP_KINDS };

/* Notes that `span` was touched, one of [first, end), the spans of its file; `marks` has a byte for each span of `t`.
 * Gaps are before and behind it when a touched one is at most `reach` bytes away; GAP_NEXT is what follows. What was
 * returned once is taken as asked for. */
void gaps_touch(uint8_t *marks, const struct span_table *t, size_t span, size_t first, size_t end, uint64_t reach,
		struct gap ret[static GAP_KINDS]);
