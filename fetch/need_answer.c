/* One packet for each run of spans with the same fate. */
#include "fetch/need_answer.h"

#include <errno.h>
#include <sys/socket.h>

void need_answer(const struct context *c, int flags, const struct need *need)
{
	while (send(c->setup->need_fd, need, sizeof(*need), flags | MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

/* What became of spans [first, first + n). */
static void answer_range(const struct context *c, const struct span_table *t, uint32_t number, size_t first, size_t n, int r)
{
	struct span from, to;

	span_table_get(t, first, &from);
	span_table_get(t, first + n - 1, &to);
	need_answer(c, 0,
		    &(struct need){.kind = r < 0 ? NEED_FAILED : NEED_DONE,
				   .number = number,
				   .error = r < 0 ? (uint32_t)-r : 0,
				   .first_page = from.off / LAYER_PAGE,
				   .n_pages = (to.off + to.size - 1) / LAYER_PAGE - from.off / LAYER_PAGE + 1});
}

void need_answer_unit(const struct context *c, const struct layer_store *layer, uint32_t number, const struct span_unit *unit, int r)
{
	const struct span_table *t = layer_store_spans(layer);
	size_t end = unit->first + unit->n, n;

	for (size_t i = unit->first; r < 0 && i < end; i += n) {
		bool there = layer_store_has_span(layer, i);

		for (n = 1; i + n < end && layer_store_has_span(layer, i + n) == there; n++)
			;
		if (!there)
			answer_range(c, t, number, i, n, r);
	}
	if (r == 0 || unit->n > 1)
		answer_range(c, t, number, unit->first, unit->n, 0);
}
