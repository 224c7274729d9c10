/* A layer's sources one after the other; the window that a checkpoint needs is fetched beside its span. */
#include "fetch/span_get.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "base/thread.h"
#include "cache/layer_blob.h"
#include "cache/layer_sources.h"
#include "format/span_decode.h"

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

/* One span on its way, or several: then `span` says no more than their packed range. */
struct way {
	struct layer_store *layer;
	struct span_unit unit;
	struct span span;
	uint8_t *packed, *plain, *window;
};

static void way_free(struct way *w)
{
	free(w->packed);
	free(w->plain);
	free(w->window);
}

static int way_new(struct layer_store *layer, const struct span_unit *unit, struct way *ret)
{
	*ret = (struct way){.layer = layer, .unit = *unit};
	if (unit->n == 1)
		span_table_get(layer_store_spans(layer), unit->first, &ret->span);
	ret->span.packed_off = unit->packed_off;
	ret->span.packed_size = unit->packed_size;
	ret->packed = malloc((size_t)ret->span.packed_size + 1);
	ret->plain = malloc((size_t)ret->span.size + 1);
	ret->window = malloc(ret->span.window_size + 1);
	return ret->packed && ret->plain && ret->window ? 0 : -ENOMEM;
}

/* From the layer's own file, when it made its checkpoints itself. -ENOENT: it did not. */
static int read_window(const struct context *c, const struct way *w)
{
	_cleanup_(fd_close) int dir_fd =
		beneath_cache_open(c->store->layers_fd, layer_store_key(w->layer), O_RDONLY | O_DIRECTORY, 0);
	_cleanup_(fd_close) int fd =
		dir_fd < 0 ? -1 : openat(dir_fd, LAYER_BLOB_WINDOWS, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (dir_fd < 0)
		return dir_fd;
	return fd < 0 ? -errno : fd_pread_full(fd, w->window, w->span.window_size, w->span.window_off);
}

typedef int (*get_range)(struct source *s, const struct descriptor *d, uint64_t off, size_t size, void *out);

/* A window on its way. It has no digest of its own: a wrong one makes a span that fails its digest. */
struct window {
	const struct way *way;
	struct source *source;
	get_range get;
	struct descriptor blob;
	pthread_t thread;
	bool beside; /* the thread runs */
	int result;
	char text[REPORT_TEXT_SIZE];
};

static void *get_window(void *argument)
{
	struct window *n = argument;

	report_capture(n->text);
	n->result = n->get(n->source, &n->blob, n->way->span.window_off, n->way->span.window_size, n->way->window);
	report_capture(NULL);
	return NULL;
}

/* Begins; in this very thread when there is no other. */
static void begin_window(struct window *n)
{
	char outer_text[REPORT_TEXT_SIZE], *outer;

	n->beside = thread_start(&n->thread, get_window, n) == 0;
	if (n->beside)
		return;
	outer = report_capture(outer_text);
	get_window(n);
	report_capture_again(outer);
}

static int end_window(struct window *n)
{
	if (n->beside)
		pthread_join(n->thread, NULL);
	return n->result < 0 && n->text[0] ? fail(-n->result, "%s", n->text) : n->result;
}

/* The packed bytes, and the window when it is not here. */
static int get_bytes(struct context *c, struct source *source, const struct descriptor *blob, const struct way *w, get_range get)
{
	struct window n = {.way = w, .source = source, .get = get};
	struct layer_blob windows;
	bool remote = false;
	int r = w->span.window_size ? read_window(c, w) : 0, r_window = 0;

	if (r == -ENOENT) {
		r = layer_blob_get_windows(c->store, layer_store_key(w->layer), &windows);
		if (r < 0)
			return fail(EBADMSG, "layer %s has no windows for its checkpoints; `lazyrun check` mends that",
				    layer_store_key(w->layer));
		n.blob = (struct descriptor){.digest = windows.digest, .size = windows.size};
		remote = true;
	}
	if (r < 0)
		return fail(-r, "layer %s: its windows cannot be read: %s", layer_store_key(w->layer), strerror(-r));
	if (remote)
		begin_window(&n);
	r = get(source, blob, w->span.packed_off, (size_t)w->span.packed_size, w->packed);
	if (remote)
		r_window = end_window(&n);
	return r < 0 ? r : r_window;
}

/* `once`: others may have it. */
static int get_span(struct context *c, struct source *source, const struct way *w, bool once)
{
	const struct span *span = &w->span;
	struct descriptor blob;
	int r = find_blob(c, w->layer, &blob);

	for (int tries = 0; r == 0 && tries < 2; tries++) {
		char text[REPORT_TEXT_SIZE], *outer;

		r = get_bytes(c, source, &blob, w, once ? source_try_range : source_get_range);
		if (r < 0)
			return r;
		if (w->unit.n > 1) {
			r = span_unit_put(w->layer, &w->unit, w->packed);
			if (r != -EBADMSG)
				return r;
			r = 0;
			continue;
		}
		if (span->digest_of == SPAN_DIGEST_PACKED && !span_decode_verify(span, w->packed, w->plain))
			continue; /* never decoded */
		outer = report_capture(text); /* what broke them is what broke their digest */
		r = span_decode(span, w->packed, w->window, w->plain);
		report_capture_again(outer);
		if (r == 0 && span_decode_verify(span, w->packed, w->plain))
			return 0;
		r = r == -EBADMSG ? 0 : r;
	}
	return r < 0 ? r :
		       fail(EBADMSG, "%s sent wrong bytes twice for layer %s at %" PRIu64, source_name(source),
			    layer_store_key(w->layer), span->packed_off);
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
			if (places[i].down == last && (r = get_span(c, places[i].source, w, true)) == 0)
				return 0;
	for (size_t i = 0; i < n && (i == 0 || clock_ms() < deadline); i++) {
		if (!places[i].best)
			continue;
		r = get_span(c, places[i].source, w, places[i].down);
		if (r == 0)
			return 0;
		if (!span_get_passes(r) && !answered)
			answered = r;
	}
	return answered ? answered : r;
}

int span_get(struct context *c, struct layer_store *layer, const struct span_unit *unit)
{
	_cleanup_(layer_sources_free) char **names = NULL;
	_cleanup_(way_free) struct way w = {0};
	const char *key = layer_store_key(layer);
	struct span first;
	size_t n = 0;
	int r;

	span_table_get(layer_store_spans(layer), unit->first, &first);
	if (!span_table_comes_back(&first))
		return fail(EIO, "layer %s: bytes at %" PRIu64 " are missing and have no way back", key, first.off);
	if (atomic_load(&c->offline))
		return fail(EIO, "layer %s: bytes at %" PRIu64 " are missing, and nothing may be asked of a registry (--offline)",
			    key, first.off);
	r = layer_sources_get(c->store, key, &names, &n);
	if (r < 0 || n == 0)
		return fail(EIO, "layer %s: bytes at %" PRIu64 " are missing and no registry is known to have them; "
				 "run lazyrun pull IMAGE", key, first.off);
	r = way_new(layer, unit, &w);
	if (r == 0)
		r = get_from_any(c, names, n, &w);
	if (r < 0 || unit->n > 1)
		return r;
	r = layer_store_put_span(layer, unit->first, w.plain);
	return r < 0 ? fail(-r, "layer %s cannot be written in %s: %s", key, c->store->store_path, strerror(-r)) : 0;
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
