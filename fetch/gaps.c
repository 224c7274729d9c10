/* Outwards from the touched span. */
#include "fetch/gaps.h"

#define TOUCHED 1u
#define ASKED 2u

#define RUN_MIN 3u    /* touched spans one behind the other are read on when they are so many */
#define RUN_BYTES (192u << 10) /* bytes, */
#define RUN_STEP (64u << 10) /* with so much in between at most that nobody was heard to touch, */
#define RUN_AHEAD 32u /* as many spans as they are, at most so many */

static uint64_t offset(const struct span_table *t, size_t i)
{
	struct span s;

	span_table_get(t, i, &s);
	return s.off;
}

static uint64_t end_of(const struct span_table *t, size_t i)
{
	struct span s;

	span_table_get(t, i, &s);
	return s.off + s.size;
}

/* Where the run of touched spans begins that ends with `span`; *ret_n is how many of them were touched. */
static size_t run_of(const uint8_t *marks, const struct span_table *t, size_t span, size_t first, size_t *ret_n)
{
	size_t begin = span;

	*ret_n = 1;
	for (size_t i = span; i > first && span - i + 1 < RUN_AHEAD && offset(t, begin) - end_of(t, i - 1) <= RUN_STEP; i--)
		if (marks[i - 1] & TOUCHED) {
			begin = i - 1;
			(*ret_n)++;
		}
	return begin;
}

/* Several go with one request: nothing before half of them is new. */
static struct gap next(const uint8_t *marks, const struct span_table *t, size_t span, size_t first, size_t end)
{
	size_t n_touched, begin = run_of(marks, t, span, first, &n_touched), n = span - begin + 1, n_new = 0;

	if (n_touched < RUN_MIN || end_of(t, span) - offset(t, begin) < RUN_BYTES)
		return (struct gap){0};
	n = n < end - span - 1 ? n : end - span - 1;
	for (size_t i = span + 1; i <= span + n; i++)
		n_new += marks[i] == 0;
	return n_new > n / 2 ? (struct gap){.first = span + 1, .n = n} : (struct gap){0};
}

void gaps_touch(uint8_t *marks, const struct span_table *t, size_t span, size_t first, size_t end, uint64_t reach,
		struct gap ret[static GAP_KINDS])
{
	const uint64_t here = offset(t, span);
	size_t i;

	ret[GAP_BEFORE] = ret[GAP_BEHIND] = (struct gap){0};
	marks[span] |= TOUCHED;
	for (i = span; i > first && here - offset(t, i - 1) <= reach; i--)
		if (marks[i - 1] & TOUCHED) {
			ret[GAP_BEFORE] = (struct gap){.first = i, .n = span - i};
			break;
		}
	for (i = span + 1; i < end && offset(t, i) - here <= reach; i++)
		if (marks[i] & TOUCHED) {
			ret[GAP_BEHIND] = (struct gap){.first = span + 1, .n = i - span - 1};
			break;
		}
	ret[GAP_NEXT] = next(marks, t, span, first, end);
	for (size_t kind = 0; kind < GAP_KINDS; kind++)
		for (i = ret[kind].first; i < ret[kind].first + ret[kind].n; i++)
			marks[i] |= ASKED;
}
