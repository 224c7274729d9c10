/* Steps from one unit of spans to the next, and directories that were read from end to end. */
#include "fetch/read_on.h"

#include "fetch/span_unit.h"

#define RUN_MIN 4u /* steps that make a run, */
#define RUN_FILES 24u /* or so many files one behind the other, when they are so many */
#define RUN_BYTES (640u << 10) /* bytes, */
#define RUN_STEP (64u << 10) /* with so much in between at most that nobody was heard to touch, */
#define RUN_AHEAD 32u /* which is kept as many units ahead as it is long, at most so many */
#define WHOLE_MANY 6u /* after so many directories somebody reads everything: the rest of the layer follows, */
#define REST_SPANS 16u /* so many spans at once */

/* Whether who has read all before span `end` and now reads `next` reads one after the other. */
static bool follows(const struct span_table *t, size_t end, size_t next)
{
	struct span last, s;

	if (next < end || end == 0 || end > span_table_count(t))
		return false;
	span_table_get(t, end - 1, &last);
	span_table_get(t, next, &s);
	return s.off - (last.off + last.size) <= RUN_STEP;
}

static void step(struct read_on *o, const struct span_table *t, const struct span_unit *to, uint64_t off)
{
	if (follows(t, o->end, to->first)) {
		o->run++;
	} else {
		o->run = 0;
		o->n_files = 0;
		o->off = off;
		o->asked_to = 0;
	}
	o->first = to->first;
	o->end = to->first + to->n;
}

/* As many units as the run is long, unless more than half of them were asked for: several small ones at once go with one
 * request. */
static void ask(struct read_on *o, struct fill *fill, struct layer_store *layer, uint32_t number)
{
	const struct span_table *spans = layer_store_spans(layer);
	const unsigned int far = o->run < 1 ? 1 : o->run < RUN_AHEAD ? o->run : RUN_AHEAD;
	unsigned int k, n_asked = 0;
	size_t at = o->end;
	bool large = false;

	for (k = 0; k < far && at < span_table_count(spans); k++) {
		struct span_unit u;

		span_unit_of(spans, at, &u);
		n_asked += at < o->asked_to;
		large = u.packed_size >= RUN_BYTES;
		at = u.first + u.n;
	}
	if ((n_asked > k / 2 && !large) || at <= o->asked_to)
		return;
	if (o->asked_to < o->end)
		o->asked_to = o->end;
	fill_ahead(fill, layer, number, o->asked_to, at - o->asked_to);
	o->asked_to = at;
}

void read_on_touch(struct read_on *o, struct fill *fill, struct layer_store *layer, uint32_t number,
		   const struct layer_file *file, uint64_t off, bool large)
{
	const struct span_table *spans = layer_store_spans(layer);
	struct span_unit u;
	size_t at;

	if (span_table_at(spans, off, &at) < 0)
		return;
	span_unit_of(spans, at, &u);
	if (o->end == 0 || u.first != o->first)
		step(o, spans, &u, off);
	if (off < o->last || (off > o->last_end && off - o->last_end > RUN_STEP))
		o->n_files = 0;
	o->n_files += file && file->off == off;
	o->last = off;
	o->last_end = file ? file->off + file->size : off;
	if ((o->run >= RUN_MIN || o->n_files >= RUN_FILES) && off >= o->off + RUN_BYTES && !large)
		ask(o, fill, layer, number);
}

void read_on_whole(struct read_on *o, const struct layer_store *layer, uint64_t off)
{
	if (++o->n_whole == WHOLE_MANY && span_table_at(layer_store_spans(layer), off, &o->rest) == 0)
		o->n_rest = span_table_count(layer_store_spans(layer));
}

bool read_on_reads_all(const struct read_on *o)
{
	return o->n_whole >= WHOLE_MANY;
}

void read_on_rest(struct read_on *o, struct fill *fill, struct layer_store *layer, uint32_t number)
{
	const size_t count = span_table_count(layer_store_spans(layer));

	if (o->rest >= count)
		o->n_rest = 0; /* the layer has another table now */
	while (o->n_rest > 0 && fill_has_room(fill)) {
		size_t n = o->n_rest < REST_SPANS ? o->n_rest : REST_SPANS;

		n = n < count - o->rest ? n : count - o->rest;
		fill_ahead(fill, layer, number, o->rest, n);
		o->rest = (o->rest + n) % count;
		o->n_rest -= n;
	}
}
