/* A list of starts that are looked at; each notes the first touch of each unit of spans. */
#include "fetch/first_touch.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"
#include "base/thread.h"
#include "cache/profiles.h"
#include "fetch/closure.h"
#include "fetch/replay.h"
#include "fetch/span_unit.h"

#define STARTS_MAX 64u	     /* at a time; of more nothing is noted */
#define QUIET_MS 2000	     /* nothing new so long: it is written */
#define NOTHING_MS 20000     /* nothing new so long: the start is over, */
#define START_MS 120000	     /* or so long after it began */
#define REPLAY_AGAIN_MS 5000 /* starts of the same that follow sooner have one replay */

struct layer {
	uint32_t number;
	size_t n_spans;
	uint64_t *touched;  /* a bit for each span that is the first of a touched unit; NULL: no spans */
	uint64_t *profiled; /* of those, what was in the profile before */
};

struct start {
	struct start *next;
	struct digest manifest, command;
	struct profile *profile; /* what there was, then what is new */
	struct layer *layers;	 /* as many as the profile has */
	int64_t began, touched_last, replayed_last; /* clock_ms() */
	bool unsaved;
};

struct first_touches {
	struct context *context;
	struct fill *fill;
	pthread_mutex_t lock; /* guards the list and all in it */
	struct start *starts;
	unsigned int n;
	atomic_uint n_now;   /* the same, to be read without the lock */
	atomic_uint n_ended; /* calls of first_touch_end(): replays before it stop */
	atomic_bool saving;  /* a thread is at it */
};

int first_touch_new(struct context *c, struct fill *fill, struct first_touches **ret)
{
	struct first_touches *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->context = c;
	f->fill = fill;
	pthread_mutex_init(&f->lock, NULL);
	*ret = f;
	return 0;
}

static void start_free(struct start **start)
{
	struct start *s = *start;

	if (!s)
		return;
	for (size_t i = 0; s->layers && i < s->profile->n_layers; i++) {
		free(s->layers[i].touched);
		free(s->layers[i].profiled);
	}
	free(s->layers);
	profile_free(&s->profile);
	free(s);
	*start = NULL;
}

static bool get_bit(const uint64_t *bits, size_t i)
{
	return bits[i / 64] & UINT64_C(1) << (i % 64);
}

static void set_bit(uint64_t *bits, size_t i)
{
	bits[i / 64] |= UINT64_C(1) << (i % 64);
}

/* The units of pages [first, first + n): those of which nothing was touched yet are noted, each with its part of the
 * pages. Whether the profile had all of them. The lock is held, or nobody else has the start. */
static bool note_pages(struct start *s, size_t layer, const struct layer_store *store, uint64_t first, uint64_t n)
{
	const struct span_table *t = layer_store_spans(store);
	struct layer *l = &s->layers[layer];
	uint64_t off = first * LAYER_PAGE, end = off + n * LAYER_PAGE;
	bool profiled = true;
	size_t at;

	while (l->touched && off < end && off < layer_store_size(store) && span_table_at(t, off, &at) == 0) {
		struct span_unit unit;
		struct span last;
		uint64_t page = off / LAYER_PAGE, pages;

		span_table_get(t, at, &last);
		if (last.off >= end)
			break; /* zeros between another format's spans */
		span_unit_of(t, at, &unit);
		if (unit.first >= l->n_spans)
			return false; /* the layer was opened anew */
		span_table_get(t, unit.first + unit.n - 1, &last);
		off = last.off + last.size;
		pages = ((off < end ? off : end) + LAYER_PAGE - 1) / LAYER_PAGE - page;
		profiled = profiled && get_bit(l->profiled, unit.first);
		if (pages == 0 || get_bit(l->touched, unit.first))
			continue;
		set_bit(l->touched, unit.first);
		if (profile_add(s->profile, (uint32_t)layer, page, pages < PROFILE_RUN_PAGES ? (uint32_t)pages : PROFILE_RUN_PAGES) == 0)
			s->unsaved = true;
	}
	return profiled;
}

/* What an earlier start's profile says of layers that are laid out as they were then. */
static void take_profile(struct start *s, const struct profile *old, const struct replay *stores)
{
	for (size_t i = 0; i < old->n_runs; i++) {
		const struct profile_run *run = &old->runs[i];

		for (size_t k = 0; k < s->profile->n_layers; k++)
			if (stores->layers[k].store &&
			    memcmp(old->layers[run->layer], s->profile->layers[k], PROFILE_UUID_SIZE) == 0) {
				note_pages(s, k, stores->layers[k].store, run->first, run->n);
				break;
			}
	}
	for (size_t k = 0; k < s->profile->n_layers; k++)
		if (s->layers[k].touched)
			memcpy(s->layers[k].profiled, s->layers[k].touched, (s->layers[k].n_spans / 64 + 1) * sizeof(uint64_t));
	s->unsaved = false;
}

/* Opens the image's layers: what is replayed needs them, and so does the start. */
static int open_layers(struct context *c, const struct image *image, struct replay *r)
{
	for (size_t i = 0; i < image->n_layers; i++)
		if (layer_table_get(c->layers, image->layers[i].key, &r->layers[i].store) < 0 ||
		    number_table_find_layer(c->numbers, image->layers[i].key, &r->layers[i].number) < 0)
			return -ENOENT;
	return 0;
}

static bool something_is_missing(const struct image *image, const struct replay *r)
{
	for (size_t i = 0; i < image->n_layers; i++)
		if (layer_store_bytes_present(r->layers[i].store) < layer_store_size(r->layers[i].store))
			return true;
	return false;
}

static int start_new(const struct image *image, const struct digest *command, const struct replay *stores, struct start **ret)
{
	_cleanup_(start_free) struct start *s = calloc(1, sizeof(*s));
	int r = s ? profile_new(image->n_layers, &s->profile) : -ENOMEM;

	if (r < 0)
		return r;
	s->manifest = image->name.manifest;
	s->command = *command;
	s->layers = calloc(image->n_layers + 1, sizeof(*s->layers));
	if (!s->layers)
		return -ENOMEM;
	for (size_t i = 0; i < image->n_layers; i++) {
		struct layer *l = &s->layers[i];

		memcpy(s->profile->layers[i], layer_store_index(stores->layers[i].store)->uuid, PROFILE_UUID_SIZE);
		l->number = stores->layers[i].number;
		l->n_spans = span_table_count(layer_store_spans(stores->layers[i].store));
		if (l->n_spans == 0)
			continue;
		l->touched = calloc(l->n_spans / 64 + 1, sizeof(uint64_t));
		l->profiled = calloc(l->n_spans / 64 + 1, sizeof(uint64_t));
		if (!l->touched || !l->profiled)
			return -ENOMEM;
	}
	s->began = s->touched_last = clock_ms();
	*ret = TAKE(s);
	return 0;
}

/* The lock is held. */
static struct start *find_start(const struct first_touches *f, const struct digest *manifest, const struct digest *command)
{
	struct start *s = f->starts;

	while (s && (!digest_equal(&s->manifest, manifest) || !digest_equal(&s->command, command)))
		s = s->next;
	return s;
}

/* Puts it in the list, unless the same is there already; then that one goes on. Whether its profile is to be replayed,
 * as *ret_runs. */
static bool add_start(struct first_touches *f, struct start **start, struct replay *r)
{
	int64_t now = clock_ms();
	bool replay = false;
	struct start *s;

	pthread_mutex_lock(&f->lock);
	s = find_start(f, &(*start)->manifest, &(*start)->command);
	if (!s && f->n < STARTS_MAX) {
		s = TAKE(*start);
		s->next = f->starts;
		f->starts = s;
		atomic_store(&f->n_now, ++f->n);
	}
	if (s && s->profile->n_runs && (s->replayed_last == 0 || now - s->replayed_last > REPLAY_AGAIN_MS)) {
		r->runs = calloc(s->profile->n_runs, sizeof(*r->runs));
		replay = r->runs != NULL;
	}
	if (replay) {
		r->n_runs = s->profile->n_runs;
		memcpy(r->runs, s->profile->runs, r->n_runs * sizeof(*r->runs));
		s->replayed_last = now;
	}
	pthread_mutex_unlock(&f->lock);
	return replay;
}

/* Nothing is known of this start but its program. */
static void begin_closure(const struct first_touches *f, const struct image *image, const char *command)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	struct json_object *program;

	if (json_field_parse(command, strlen(command), &o) < 0 || !json_object_is_type(o, json_type_array))
		return;
	program = json_object_array_get_idx(o, 0);
	if (json_object_is_type(program, json_type_string))
		closure_begin_command(f->context, f->fill, image->key, image->path, json_object_get_string(program));
}

void first_touch_begin(struct first_touches *f, const struct image *image, const char *command)
{
	_cleanup_(replay_free) struct replay *r = calloc(1, sizeof(*r));
	_cleanup_(profile_free) struct profile *old = NULL;
	_cleanup_(start_free) struct start *s = NULL;
	struct digest digest;

	profiles_command(command, &digest);
	if (!r || open_layers(f->context, image, r) < 0 || !something_is_missing(image, r) ||
	    start_new(image, &digest, r, &s) < 0)
		return;
	r->context = f->context;
	r->fill = f->fill;
	r->ended = &f->n_ended;
	r->began = atomic_load(&f->n_ended);
	if (profiles_get(f->context->store, &image->name.manifest, &digest, &old) == 0)
		take_profile(s, old, r);
	if (add_start(f, &s, r))
		replay_begin(&r);
	else if (!old)
		begin_closure(f, image, command);
}

/* Of several starts that have the layer each notes it: which of them reads is not known. */
bool first_touch_note(struct first_touches *f, const struct need *n)
{
	_cleanup_(layer_store_free) struct layer_store *store = NULL;
	bool profiled = false;
	const char *key;

	if (atomic_load(&f->n_now) == 0 || n->n_pages == 0 || n->first_page > UINT64_MAX / LAYER_PAGE / 2 ||
	    n->n_pages > UINT64_MAX / LAYER_PAGE / 4 || number_table_layer(f->context->numbers, n->number, &key) < 0 ||
	    layer_table_get(f->context->layers, key, &store) < 0)
		return false;
	pthread_mutex_lock(&f->lock);
	for (struct start *s = f->starts; s; s = s->next) {
		size_t before = s->profile->n_runs;

		for (size_t i = 0; i < s->profile->n_layers; i++)
			if (s->layers[i].number == n->number) {
				profiled = note_pages(s, i, store, n->first_page, n->n_pages) || profiled;
				break;
			}
		if (s->profile->n_runs > before)
			s->touched_last = clock_ms();
	}
	pthread_mutex_unlock(&f->lock);
	return profiled;
}

static bool is_over(const struct start *s, int64_t now)
{
	return now - s->began > START_MS || now - s->touched_last > NOTHING_MS;
}

/* The lock is held. */
static void remove_over(struct first_touches *f, int64_t now, const struct digest *manifest, bool all)
{
	for (struct start **at = &f->starts; *at;) {
		struct start *s = *at;

		if (!all && !(manifest && digest_equal(&s->manifest, manifest)) && (s->unsaved || !is_over(s, now))) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		atomic_store(&f->n_now, --f->n);
		start_free(&s);
	}
}

struct written { /* a copy of one start's profile */
	struct digest manifest, command;
	struct profile *profile;
};

static void written_free(struct written *w)
{
	profile_free(&w->profile);
	*w = (struct written){0};
}

/* The next one that is not written, its mark taken off. */
static bool take_unsaved(struct first_touches *f, struct written *ret)
{
	struct start *s;

	pthread_mutex_lock(&f->lock);
	for (s = f->starts; s && !s->unsaved;)
		s = s->next;
	if (s) {
		s->unsaved = false;
		ret->manifest = s->manifest;
		ret->command = s->command;
		if (profile_new(s->profile->n_layers, &ret->profile) == 0) {
			memcpy(ret->profile->layers, s->profile->layers, s->profile->n_layers * sizeof(*s->profile->layers));
			memcpy(ret->profile->runs, s->profile->runs, s->profile->n_runs * sizeof(*s->profile->runs));
			ret->profile->n_runs = s->profile->n_runs;
		}
	}
	pthread_mutex_unlock(&f->lock);
	return s != NULL;
}

/* Who removes the image has the store_lock: it goes from the list before, or its file after. */
void first_touch_save(struct first_touches *f)
{
	bool more = true;

	while (more) {
		_cleanup_(written_free) struct written w = {0};
		int r = 0;

		pthread_mutex_lock(&f->context->store_lock);
		more = take_unsaved(f, &w);
		if (more && w.profile)
			r = profiles_put(f->context->store, &w.manifest, &w.command, w.profile);
		pthread_mutex_unlock(&f->context->store_lock);
		if (r < 0)
			report_note("what a start needed cannot be kept in %s/%s: %s", f->context->store->store_path,
				    PROFILES_DIRECTORY, strerror(-r));
	}
}

static void *save_thread(void *argument)
{
	struct first_touches *f = argument;

	first_touch_save(f);
	atomic_store(&f->saving, false);
	return NULL;
}

void first_touch_tick(struct first_touches *f)
{
	int64_t now = clock_ms();
	bool due = false;

	pthread_mutex_lock(&f->lock);
	for (const struct start *s = f->starts; s; s = s->next)
		due = due || (s->unsaved && (now - s->touched_last > QUIET_MS || is_over(s, now)));
	remove_over(f, now, NULL, false);
	pthread_mutex_unlock(&f->lock);
	if (!due || atomic_exchange(&f->saving, true))
		return;
	if (thread_start_detached(save_thread, f) < 0)
		atomic_store(&f->saving, false);
}

void first_touch_end(struct first_touches *f)
{
	first_touch_save(f);
	atomic_fetch_add(&f->n_ended, 1);
	pthread_mutex_lock(&f->lock);
	remove_over(f, 0, NULL, true);
	pthread_mutex_unlock(&f->lock);
}

void first_touch_forget(struct first_touches *f, const struct digest *manifest)
{
	pthread_mutex_lock(&f->lock);
	remove_over(f, clock_ms(), manifest, false);
	pthread_mutex_unlock(&f->lock);
	profiles_remove(f->context->store, manifest);
}
