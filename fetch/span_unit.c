/* Units end at fixed edges of the blob, of the layer file and of the table, so nothing is searched for. */
#include "fetch/span_unit.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "format/span_decode.h"

#define PACKED_SHIFT 18 /* 256 KiB: what 100 Mbit/s bring in the time of a round trip */
#define PLAIN_SHIFT 22
#define SPANS_SHIFT 7
#define SMALL (128u << 10) /* packed: a larger one is not fetched for the sake of its neighbours */

/* Those from checkpoints are large, and need their windows. */
static bool may_join(const struct span *s)
{
	return (s->kind == SPAN_GZIP_MEMBER || s->kind == SPAN_ZSTD) && s->digest_of == SPAN_DIGEST_PLAIN;
}

static bool same_unit(const struct span *a, size_t i, const struct span *b, size_t k)
{
	if (!may_join(a) || a->packed_off == b->packed_off)
		return may_join(a) && i >> SPANS_SHIFT == k >> SPANS_SHIFT;
	return a->packed_size <= SMALL && b->packed_size <= SMALL && a->packed_off >> PACKED_SHIFT == b->packed_off >> PACKED_SHIFT &&
	       a->off >> PLAIN_SHIFT == b->off >> PLAIN_SHIFT && i >> SPANS_SHIFT == k >> SPANS_SHIFT;
}

bool span_unit_needs_before(const struct layer_store *layer, size_t span)
{
	struct span s;

	span_table_get(layer_store_spans(layer), span, &s);
	return s.window_is == SPAN_WINDOW_BEFORE &&
	       !layer_store_present(layer, s.off - s.skip - SPAN_WINDOW_MAX, SPAN_WINDOW_MAX);
}

static void set_range(const struct span_table *t, struct span_unit *u)
{
	uint64_t from = UINT64_MAX, to = 0;

	for (size_t i = u->first; i < u->first + u->n; i++) {
		struct span s;

		span_table_get(t, i, &s);
		from = s.packed_off < from ? s.packed_off : from;
		to = s.packed_off + s.packed_size > to ? s.packed_off + s.packed_size : to;
	}
	u->packed_off = from;
	u->packed_size = to - from;
}

void span_unit_of(const struct span_table *t, size_t span, struct span_unit *ret)
{
	struct span_unit u = {.first = span, .n = 1};
	struct span s, other;

	span_table_get(t, span, &s);
	if (span_table_is_foreign(t) && may_join(&s)) {
		for (; u.first > 0; u.first--, u.n++) {
			span_table_get(t, u.first - 1, &other);
			if (!same_unit(&other, u.first - 1, &s, span))
				break;
		}
		for (; u.first + u.n < span_table_count(t); u.n++) {
			span_table_get(t, u.first + u.n, &other);
			if (!same_unit(&other, u.first + u.n, &s, span))
				break;
		}
	}
	set_range(t, &u);
	*ret = u;
}

void span_unit_missing(const struct layer_store *layer, const struct span_unit *all, struct span_unit *ret)
{
	struct span_unit u = *all;

	while (u.n && layer_store_has_span(layer, u.first)) {
		u.first++;
		u.n--;
	}
	while (u.n && layer_store_has_span(layer, u.first + u.n - 1))
		u.n--;
	if (u.n)
		set_range(layer_store_spans(layer), &u);
	*ret = u;
}

uint64_t span_unit_memory(const struct span_table *t, const struct span_unit *u)
{
	uint64_t plain = 0;

	for (size_t i = u->first; i < u->first + u->n; i++) {
		uint64_t here;
		struct span s;

		span_table_get(t, i, &s);
		here = s.kind == SPAN_ZSTD ? 2 * (s.skip + s.size) : s.skip + s.size;
		plain = here > plain ? here : plain;
	}
	return u->packed_size + plain;
}

bool span_unit_is_large(uint64_t memory)
{
	return memory > LIMIT_FILL_FREE;
}

bool span_unit_fits(uint64_t memory, uint64_t out)
{
	return !span_unit_is_large(memory) || out == 0 || (out <= LIMIT_FILL_MEMORY && memory <= LIMIT_FILL_MEMORY - out);
}

/* How many spans from `first` on lie in the same member or frame, one behind the other; *ret is all of them as one. */
static size_t join(const struct span_table *t, size_t first, size_t end, struct span *ret)
{
	size_t n = 1;
	struct span s;

	span_table_get(t, first, ret);
	for (; first + n < end; n++) {
		span_table_get(t, first + n, &s);
		if (s.packed_off != ret->packed_off || s.kind != ret->kind || s.skip < ret->skip + ret->size ||
		    s.skip + s.size - ret->skip > LIMIT_SPAN_SIZE)
			break;
		ret->size = s.skip + s.size - ret->skip;
		ret->packed_size = s.packed_size > ret->packed_size ? s.packed_size : ret->packed_size;
	}
	return n;
}

/* `all` are n spans as one. -EBADMSG: some of them are wrong, the others are in. */
static int put_joined(struct layer_store *layer, size_t first, size_t n, const struct span *all, const uint8_t *packed)
{
	_cleanup_(fd_free_memory) uint8_t *plain = malloc((size_t)all->size);
	char text[REPORT_TEXT_SIZE], *outer;
	int r = plain ? 0 : -ENOMEM;
	bool wrong = false;

	if (r == 0) {
		outer = report_capture(text); /* what broke them is what breaks their digest */
		r = span_decode(all, packed, NULL, plain);
		report_capture_again(outer);
	}
	for (size_t i = first; r == 0 && i < first + n; i++) {
		struct span s;

		span_table_get(layer_store_spans(layer), i, &s);
		if (!span_decode_verify(&s, packed, plain + (s.skip - all->skip)))
			wrong = true;
		else if (!layer_store_has_span(layer, i))
			r = layer_store_put_span(layer, i, plain + (s.skip - all->skip));
	}
	return r == 0 && wrong ? -EBADMSG : r;
}

/* One that cannot be decoded must not take the others of its frame with it. */
static int put_each(struct layer_store *layer, const struct span_unit *u, size_t first, size_t n, const uint8_t *packed)
{
	int r = 0, worst = 0;

	for (size_t i = first; i < first + n && (r == 0 || r == -EBADMSG); i++) {
		struct span s;

		span_table_get(layer_store_spans(layer), i, &s);
		if (!layer_store_has_span(layer, i))
			r = put_joined(layer, i, 1, &s, packed + (s.packed_off - u->packed_off));
		worst = r < 0 ? r : worst;
	}
	return worst;
}

int span_unit_put(struct layer_store *layer, const struct span_unit *u, const uint8_t *packed)
{
	const struct span_table *t = layer_store_spans(layer);
	size_t end = u->first + u->n, n;
	int r = 0, worst = 0;

	for (size_t i = u->first; i < end && (r == 0 || r == -EBADMSG); i += n) {
		struct span all;

		n = join(t, i, end, &all);
		r = n > 1 ? put_joined(layer, i, n, &all, packed + (all.packed_off - u->packed_off)) : -EBADMSG;
		if (r == -EBADMSG)
			r = put_each(layer, u, i, n, packed);
		worst = r < 0 ? r : worst;
	}
	return worst;
}
