/* A layer's sources one after the other; the window that a checkpoint needs is fetched beside its span. */
#include "fetch/span_get.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/beside.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "cache/layer_blob.h"
#include "cache/layer_sources.h"
#include "fetch/transport_watch.h"
#include "format/span_decode.h"

#define COMES_MS 200u /* a span that saves a request is waited for so long: a reader may want this one meanwhile */
#define CAME_STEP (64u << 10) /* bytes from one of its news to the next */
#define PATIENCE_MS 90000 /* for all of a layer's sources together; the one that is asked then has its own */

/* The layer says which blob it is cut from. Else that is the tar itself: its digest is the diffID, the layer's key. */
static int find_blob(const struct context *c, const struct layer_store *layer, struct descriptor *ret)
{
	const struct span_table *t = layer_store_spans(layer);
	char text[DIGEST_TEXT_MAX];
	struct layer_blob said;
	struct span at;
	int r = layer_blob_get(c->store, layer_store_key(layer), &said);

	*ret = (struct descriptor){.type = MEDIA_LAYER_TAR, .digest = said.digest, .size = said.size};
	if (r != -ENOENT)
		return r < 0 ? fail(-r, "layer %s: its file \"blob\": %s", layer_store_key(layer), strerror(-r)) : 0;
	snprintf(text, sizeof(text), "sha256:%s", layer_store_key(layer) + strlen("tar-"));
	r = digest_parse(text, strlen(text), &ret->digest);
	for (size_t i = span_table_count(t); r == 0 && i > 0; i--) {
		span_table_get(t, i - 1, &at);
		if (span_table_comes_back(&at)) {
			ret->size = at.packed_off + at.packed_size;
			break;
		}
	}
	return r;
}

/* Where a span may come from: each repository, in each way in which commands said that it is reached. */
struct place {
	struct source *source;
	bool best; /* of its repository */
	bool down;
};

#define PLACES_MAX (LAYER_SOURCES_MAX * SOURCE_TABLE_ALL)

static size_t find_places(struct context *c, char *const *names, size_t n_names, struct place places[static PLACES_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < n_names; i++) {
		struct source *all[SOURCE_TABLE_ALL];
		struct reference ref;
		size_t n_all;

		if (reference_parse(names[i], &ref) < 0)
			continue;
		n_all = source_table_all(c->sources, &ref, all);
		if (n_all == 0 && source_table_get(c->sources, &ref, NULL, all) == 0)
			n_all = 1; /* anonymous */
		for (size_t k = 0; k < n_all && n < PLACES_MAX; k++)
			places[n++] = (struct place){all[k], k == 0, source_is_down(all[k])};
	}
	return n;
}

/* One unit on its way. */
struct way {
	struct layer_store *layer;
	struct span_unit unit;
	struct span span; /* the unit's first, which is its only one when it has a window */
	uint8_t *packed;
	const struct span_get_caller *caller;
};

/* What a checkpoint needs besides its span's packed bytes: the plain bytes before it, or its window. */
struct window {
	struct layer_store *layer;
	const struct span *span;
	struct span_before before;
	bool is_before;
	bool waits; /* until it is: there is no other, */
	bool comes; /* or it is on its way already, and saves a request */
	uint8_t *packed;
	/* On its way from an artifact. It has no digest of its own: a wrong one makes a span that fails its digest. */
	struct source *source;
	bool once;
	struct descriptor blob;
	struct beside beside;
};

/* The spans of a foreign table do not lie as in their tar. */
static bool read_before(struct layer_store *layer, const struct span *s, struct span_before *ret)
{
	uint64_t at = s->off - s->skip;

	if (s->skip >= s->off || span_table_is_foreign(layer_store_spans(layer)))
		return false;
	ret->size = at < SPAN_WINDOW_MAX ? (size_t)at : SPAN_WINDOW_MAX;
	return layer_store_read(layer, ret->bytes, ret->size, at - ret->size) == 0;
}

/* From the layer's own file, when it made its checkpoints itself. -ENOENT: it did not. */
static int read_window(const struct context *c, const struct window *w)
{
	_cleanup_(fd_close) int dir_fd =
		beneath_cache_open(c->store->layers_fd, layer_store_key(w->layer), O_RDONLY | O_DIRECTORY, 0);
	_cleanup_(fd_close) int fd =
		dir_fd < 0 ? -1 : openat(dir_fd, LAYER_BLOB_WINDOWS, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (dir_fd < 0)
		return dir_fd;
	return fd < 0 ? -errno : fd_pread_full(fd, w->packed, w->span->window_size, w->span->window_off);
}

static int get_window(void *argument)
{
	const struct window *w = argument;

	return source_get_range(w->source, &w->blob, w->span->window_off, w->span->window_size, w->once, NULL, w->packed);
}

static int begin_remote(struct context *c, struct window *w)
{
	struct layer_blob windows;

	if (layer_blob_get_windows(c->store, layer_store_key(w->layer), &windows) < 0)
		return fail(EBADMSG, "layer %s has no windows for its checkpoints; `lazyrun check` mends that",
			    layer_store_key(w->layer));
	w->blob = (struct descriptor){.digest = windows.digest, .size = windows.size};
	beside_begin(&w->beside, get_window, w);
	return 0;
}

/* Whether the span before is on its way, and may be waited for: that it lies before this one in the blob, too, is what
 * ends all waiting in the end, whatever the table says. */
static bool is_coming(const struct way *way)
{
	struct span before;

	if (way->unit.first == 0)
		return false;
	span_table_get(layer_store_spans(way->layer), way->unit.first - 1, &before);
	return before.packed_off < way->span.packed_off && way->caller->comes(way->caller->opaque, way->unit.first - 1);
}

/* `distrust`: not the bytes before, from which it has failed already. */
static int window_begin(struct context *c, const struct way *way, struct source *source, bool once, bool distrust, struct window *w)
{
	struct layer_store *layer = way->layer;
	const struct span *s = &way->span;
	int r;

	*w = (struct window){.layer = layer, .span = s, .source = source, .once = once,
			     .waits = s->window_is == SPAN_WINDOW_BEFORE};
	if (s->window_size == 0)
		return 0;
	w->is_before = !distrust && read_before(layer, s, &w->before);
	if (w->is_before)
		return 0;
	w->packed = malloc(s->window_size);
	r = w->packed ? read_window(c, w) : -ENOMEM;
	if (r != -ENOENT)
		return r < 0 ? fail(-r, "layer %s: its windows cannot be read: %s", layer_store_key(layer), strerror(-r)) : 0;
	w->comes = !distrust && is_coming(way);
	return w->comes ? 0 : begin_remote(c, w);
}

/* Until it is here. */
static int window_end(struct context *c, struct window *w, const struct way *way)
{
	const size_t number = way->unit.first;
	int r;

	if (!w->waits && !w->comes)
		return beside_report(&w->beside);
	w->is_before = read_before(w->layer, w->span, &w->before);
	if (w->is_before)
		return 0;
	way->caller->wait(way->caller->opaque, number - 1, w->waits ? 0 : COMES_MS);
	w->is_before = read_before(w->layer, w->span, &w->before);
	if (w->is_before || w->waits)
		return w->is_before ? 0 : -ENODATA;
	r = begin_remote(c, w);
	return r < 0 ? r : beside_report(&w->beside);
}

static void window_free(struct window *w)
{
	beside_end(&w->beside);
	fd_free_memory(&w->packed);
}

static int put_one(struct layer_store *layer, size_t number, const struct span *s, const uint8_t *packed,
		   const struct window *w)
{
	_cleanup_(fd_free_memory) uint8_t *plain = malloc((size_t)s->size + 1);
	char text[REPORT_TEXT_SIZE], *outer;
	int r;

	if (!plain)
		return -ENOMEM;
	if (s->digest_of != SPAN_DIGEST_PLAIN && !span_decode_verify(s, packed, NULL))
		return -EBADMSG; /* never decoded */
	outer = report_capture(text); /* what broke them is what broke their digest */
	r = w->is_before ? span_decode_behind(s, packed, &w->before, plain) : span_decode(s, packed, w->packed, plain);
	report_capture_again(outer);
	if (r == 0 && !span_decode_verify(s, packed, plain))
		r = -EBADMSG;
	return r < 0 ? r : layer_store_put_span(layer, number, plain);
}

/* Decodes, verifies and writes. -EBADMSG, bare: the bytes are wrong. */
static int put_unit(struct context *c, struct layer_store *layer, const struct span_unit *u, const struct span *s,
		    const uint8_t *packed, const struct window *w)
{
	int r = u->n > 1 ? span_unit_put(layer, u, packed) : put_one(layer, u->first, s, packed, w);

	if (r == 0 || r == -EBADMSG || r == -ENOMEM)
		return r;
	return fail(-r, "layer %s cannot be written in %s: %s", layer_store_key(layer), c->store->store_path, strerror(-r));
}

static uint64_t unit_arrived(void *opaque, uint64_t received)
{
	const struct way *w = opaque;

	w->caller->came(w->caller->opaque, 0, received);
	return received + CAME_STEP;
}

static int get_and_put(struct context *c, struct source *source, const struct descriptor *blob, const struct way *w,
		       bool once, bool distrust)
{
	_cleanup_(window_free) struct window window;
	int r = window_begin(c, w, source, once, distrust, &window), r_window;

	if (r < 0)
		return r;
	r = source_get_range(source, blob, w->unit.packed_off, (size_t)w->unit.packed_size, once,
			     &(struct transport_follow){unit_arrived, (void *)w}, w->packed);
	if (r < 0 && (window.waits || window.comes))
		return r;
	r_window = window_end(c, &window, w);
	r = r < 0 ? r : r_window;
	return r < 0 ? r : put_unit(c, w->layer, &w->unit, &w->span, w->packed, &window);
}

/* `once`: others may have it. */
static int get_unit(struct context *c, struct source *source, const struct way *w, bool once)
{
	struct descriptor blob;
	int r = find_blob(c, w->layer, &blob);

	for (int tries = 0; r == 0 && tries < 2; tries++) {
		r = get_and_put(c, source, &blob, w, once, tries > 0);
		if (r != -EBADMSG)
			return r;
		r = 0;
	}
	return r < 0 ? r :
		       fail(EBADMSG, "%s sent wrong bytes twice for layer %s at %" PRIu64, source_name(source),
			    layer_store_key(w->layer), w->unit.packed_off);
}

bool span_get_passes(int r)
{
	return r == -EHOSTUNREACH || r == -ECONNREFUSED || r == -ETIMEDOUT || r == -EAGAIN || r == -EPROTO;
}

/* Each once, those that are down last; only when none has it now is it worth waiting for one, in the way that is best
 * for it. A source that has answered what no waiting mends decides. */
static int get_from_any(struct context *c, char *const *names, size_t n_names, const struct way *w)
{
	int64_t deadline = clock_ms() + PATIENCE_MS;
	struct place places[PLACES_MAX];
	size_t n = find_places(c, names, n_names, places);
	int r = -ENOENT, answered = 0;

	for (int last = 0; n > 1 && last < 2; last++)
		for (size_t i = 0; i < n; i++)
			if (places[i].down == last &&
			    ((r = get_unit(c, places[i].source, w, true)) == 0 || r == -ENODATA))
				return r;
	for (size_t i = 0; i < n && (i == 0 || clock_ms() < deadline); i++) {
		if (!places[i].best)
			continue;
		r = get_unit(c, places[i].source, w, places[i].down);
		if (r == 0 || r == -ENODATA)
			return r;
		if (!span_get_passes(r) && !answered)
			answered = r;
	}
	return answered ? answered : r;
}

int span_get(struct context *c, struct layer_store *layer, const struct span_unit *unit, const struct span_get_caller *caller)
{
	_cleanup_(layer_sources_free) char **names = NULL;
	_cleanup_(fd_free_memory) uint8_t *packed = NULL;
	struct way w = {.layer = layer, .unit = *unit, .caller = caller};
	const char *key = layer_store_key(layer);
	size_t n = 0;
	int r;

	span_table_get(layer_store_spans(layer), unit->first, &w.span);
	if (!span_table_comes_back(&w.span))
		return fail(EIO, "layer %s: bytes at %" PRIu64 " are missing and have no way back", key, w.span.off);
	if (atomic_load(&c->offline))
		return fail(EIO, "layer %s: bytes at %" PRIu64 " are missing, and nothing may be asked of a registry (--offline)",
			    key, w.span.off);
	r = layer_sources_get(c->store, key, &names, &n);
	if (r < 0 || n == 0)
		return fail(EIO, "layer %s: bytes at %" PRIu64 " are missing and no registry is known to have them; "
				 "run lazyrun pull IMAGE", key, w.span.off);
	w.packed = packed = malloc((size_t)unit->packed_size + 1);
	return packed ? get_from_any(c, names, n, &w) : -ENOMEM;
}

/* Several units on their way with one request. */
struct run {
	struct context *context;
	struct source *source;
	struct layer_store *layer;
	const struct span_unit *units;
	size_t n, next; /* the next one whose bytes are to come */
	uint64_t off; /* the range's */
	uint8_t *packed;
	struct way way; /* the next one, when it is begun, */
	struct window window; /* and its window */
	bool begun, broken;
	const struct span_get_caller *caller;
};

static int begin_next(struct run *run)
{
	run->way = (struct way){.layer = run->layer, .unit = run->units[run->next], .caller = run->caller};
	span_table_get(layer_store_spans(run->layer), run->way.unit.first, &run->way.span);
	run->begun = true;
	return window_begin(run->context, &run->way, run->source, true, false, &run->window);
}

static void end_next(struct run *run)
{
	if (run->begun)
		window_free(&run->window);
	run->begun = false;
}

/* So much of the range has come. */
static void note_arrived(const struct run *run, uint64_t received)
{
	for (size_t i = run->next; i < run->n && run->units[i].packed_off - run->off < received; i++)
		run->caller->came(run->caller->opaque, i, received - (run->units[i].packed_off - run->off));
}

/* The next unit's end, or a part of it. */
static uint64_t next_news(const struct run *run, uint64_t received)
{
	const struct span_unit *u = &run->units[run->next];
	const uint64_t end = u->packed_off + u->packed_size - run->off;

	return end - received < CAME_STEP ? end : received + CAME_STEP;
}

static uint64_t run_arrived(void *opaque, uint64_t received)
{
	struct run *run = opaque;

	if (!run->broken)
		note_arrived(run, received);
	while (!run->broken && run->next < run->n) {
		const struct span_unit *u = &run->units[run->next];

		if (u->packed_off + u->packed_size - run->off > received)
			return next_news(run, received);
		run->broken = (!run->begun && begin_next(run) < 0) || window_end(run->context, &run->window, &run->way) < 0 ||
			      put_unit(run->context, run->layer, u, &run->way.span, run->packed + (u->packed_off - run->off),
				       &run->window) < 0;
		end_next(run);
		if (!run->broken)
			run->caller->done(run->caller->opaque, run->next++);
	}
	return UINT64_MAX;
}

struct source *span_get_source(struct context *c, const struct layer_store *layer)
{
	_cleanup_(layer_sources_free) char **names = NULL;
	struct place places[PLACES_MAX];
	size_t n = 0;

	if (layer_sources_get(c->store, layer_store_key(layer), &names, &n) < 0)
		return NULL;
	return find_places(c, names, n, places) > 0 ? places[0].source : NULL;
}

/* Of a hostile table what is missing of one may lie before what is missing of another. */
static bool lie_in_order(const struct span_unit *units, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (units[i].packed_off < units[i - 1].packed_off ||
		    units[i].packed_off + units[i].packed_size < units[i - 1].packed_off + units[i - 1].packed_size)
			return false;
	return true;
}

size_t span_get_run(struct context *c, struct layer_store *layer, const struct span_unit *units, size_t n,
		    const struct span_get_caller *caller)
{
	const uint64_t size = units[n - 1].packed_off + units[n - 1].packed_size - units[0].packed_off;
	_cleanup_(fd_free_memory) uint8_t *packed = malloc((size_t)size + 1);
	_cleanup_(fd_free_memory) struct run *run = calloc(1, sizeof(*run));
	char text[REPORT_TEXT_SIZE], *outer;
	struct descriptor blob;

	if (!packed || !run || !lie_in_order(units, n))
		return 0;
	*run = (struct run){.context = c, .source = span_get_source(c, layer), .layer = layer, .units = units, .n = n,
			    .off = units[0].packed_off, .packed = packed, .caller = caller};
	outer = report_capture(text); /* who asks for the rest one by one says what is wrong */
	if (run->source && !source_is_down(run->source) && !atomic_load(&c->offline) && find_blob(c, layer, &blob) == 0 && begin_next(run) == 0)
		source_get_range(run->source, &blob, run->off, (size_t)size, true,
				 &(struct transport_follow){run_arrived, run}, packed);
	end_next(run);
	report_capture_again(outer);
	return run->next;
}

int span_get_windows(struct context *c, struct layer_store *layer)
{
	_cleanup_(layer_sources_free) char **names = NULL;
	_cleanup_(bytes_free) struct bytes windows = {0};
	_cleanup_(fd_close) int dir_fd = -1;
	const char *key = layer_store_key(layer);
	struct place places[PLACES_MAX];
	struct layer_blob blob;
	size_t n = 0;
	int r = layer_blob_get_windows(c->store, key, &blob);

	if (r < 0)
		return r == -ENOENT ? 0 : fail(-r, "layer %s: its windows are not known: %s", key, strerror(-r));
	dir_fd = beneath_cache_open(c->store->layers_fd, key, O_RDONLY | O_DIRECTORY, 0);
	if (dir_fd < 0)
		return dir_fd;
	if (faccessat(dir_fd, LAYER_BLOB_WINDOWS, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	r = layer_sources_get(c->store, key, &names, &n);
	n = r < 0 ? 0 : find_places(c, names, n, places);
	r = -ENOENT;
	for (size_t i = 0; i < n && r < 0; i++)
		if (places[i].best)
			r = source_get_blob(places[i].source, &(struct descriptor){.digest = blob.digest, .size = blob.size},
					    LIMIT_LAZY_BLOB_SIZE, &windows);
	return r < 0 ? r : fd_write_file(dir_fd, LAYER_BLOB_WINDOWS, windows.data, windows.size, 0600);
}
