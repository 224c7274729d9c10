/* A few units of spans at a time stand in fill's queue, behind all that readers and readahead have put there. */
#include "fetch/background.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/report.h"
#include "base/thread.h"
#include "fetch/check_layer.h"
#include "fetch/keep.h"
#include "fetch/lazy_pack.h"
#include "fetch/passing.h"
#include "fetch/span_get.h"
#include "fetch/span_unit.h"
#include "fetch/stream.h"

#define QUIET_MS 2000	/* no reader waited for so long: idle */
#define LOOK_MS 5
#define LOOK_AGAIN_MS 300 /* at a blob that passes by */
#define RENAME_MS 30000 /* between two looks whether a checked layer is in use */
#define FAILED_MAX 3u	/* rounds in which a layer's spans do not come */

enum state { FILLING, CHECKED };

struct job {
	struct job *next;
	char key[LAYER_KEY_SIZE];
	struct digest diff_id;
	bool is_tar; /* its layer file is: an artifact's */
	enum background_when when;
	enum state state;
	int64_t again; /* clock_ms(): not looked at before */
	unsigned int failed;
	bool asked; /* for its blob to pass by */
	bool forget;
};

struct background {
	struct context *context;
	struct fill *fill;
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t more;
	struct job *jobs;
	uint64_t rate;
	bool started;
};

static bool is_wanted(struct background *b, const struct job *j, enum background_when *ret_when)
{
	bool wanted;

	pthread_mutex_lock(&b->lock);
	wanted = !j->forget;
	*ret_when = j->when;
	pthread_mutex_unlock(&b->lock);
	return wanted;
}

static void pause_ms(unsigned int ms)
{
	const struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000L};

	nanosleep(&t, NULL);
}

/* Until there is room for one unit more, and it is time for it. False: the job is not wanted any more. */
static bool wait_for_turn(struct background *b, const struct job *j, int64_t not_before)
{
	enum background_when when;

	while (is_wanted(b, j, &when)) {
		bool quiet = fill_quiet_ms(b->fill) >= QUIET_MS && !lazy_pack_any(b->context->packs);

		if (fill_has_room(b->fill) && clock_ms() >= not_before && (quiet || when == BACKGROUND_NOW) &&
		    !atomic_load(&b->context->offline))
			return true;
		pause_ms(LOOK_MS);
	}
	return false;
}

/* When `size` bytes more may follow what was asked for at `last`. */
static int64_t next_turn(struct background *b, int64_t last, uint64_t size)
{
	uint64_t rate;

	pthread_mutex_lock(&b->lock);
	rate = b->rate;
	pthread_mutex_unlock(&b->lock);
	return rate ? last + (int64_t)(size * 1000 / rate) : last;
}

/* Asks for all that is missing, once. */
static void ask_missing(struct background *b, const struct job *j, struct layer_store *layer, uint32_t number)
{
	const struct span_table *t = layer_store_spans(layer);
	enum background_when when;
	int64_t turn = clock_ms();
	struct span_unit u;

	for (size_t i = 0; i < span_table_count(t); i = u.first + u.n) {
		struct span_unit missing;
		struct span s;

		span_unit_of(t, i, &u);
		span_table_get(t, i, &s);
		span_unit_missing(layer, &u, &missing);
		if (missing.n == 0 || !span_table_comes_back(&s))
			continue;
		if (!wait_for_turn(b, j, turn))
			return;
		turn = next_turn(b, turn > clock_ms() ? turn : clock_ms(), u.packed_size);
		fill_ahead(b->fill, layer, number, u.first, u.n);
	}
	while (fill_is_ahead(b->fill) && is_wanted(b, j, &when))
		pause_ms(LOOK_MS);
}

/* At once: nobody waits for less than the whole of its blob. -EINPROGRESS: it is on its way. */
static int let_pass(struct background *b, struct job *j, struct layer_store *layer, uint32_t number)
{
	if (passing_runs(b->context->passing, j->key) || atomic_load(&b->context->offline))
		return -EINPROGRESS;
	j->asked = !j->asked;
	return j->asked && passing_want(b->context->passing, layer, number, false) == 0 ? -EINPROGRESS : -EAGAIN;
}

static bool is_passing(const struct layer_store *layer)
{
	struct span s;

	if (span_table_count(layer_store_spans(layer)) == 0)
		return false;
	span_table_get(layer_store_spans(layer), 0, &s);
	return passing_is(&s);
}

/* 0: all of it is here. -EAGAIN: not all of it came, -ECANCELED: it is not wanted any more, -EINPROGRESS: look again. */
static int fill_layer(struct background *b, struct job *j, struct layer_store *layer)
{
	enum background_when when;
	uint32_t number;
	int r = number_table_find_layer(b->context->numbers, j->key, &number);

	if (r == 0 && layer_store_bytes_present(layer) == layer_store_size(layer))
		return 0;
	if (r == 0 && is_passing(layer))
		return let_pass(b, j, layer, number);
	if (r == 0 && !wait_for_turn(b, j, 0))
		r = -ECANCELED;
	if (r == 0)
		r = span_get_windows(b->context, layer);
	if (r == 0)
		ask_missing(b, j, layer, number);
	if (r < 0)
		return r;
	if (!is_wanted(b, j, &when))
		return -ECANCELED;
	return layer_store_bytes_present(layer) == layer_store_size(layer) ? 0 : -EAGAIN;
}

/* Its file "checked" saves a later start the look. */
static int check(struct background *b, const struct job *j)
{
	_cleanup_(fd_close) int dir_fd =
		beneath_cache_open(b->context->store->layers_fd, j->key, O_RDONLY | O_DIRECTORY, 0);
	int r;

	if (dir_fd < 0)
		return dir_fd;
	if (faccessat(dir_fd, "checked", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	r = check_layer_is(b->context, j->key, &j->diff_id);
	if (r == -EBADMSG) {
		(void)layer_store_mark_lie(b->context->store, j->key);
		report_note("layer %s IS NOT WHAT ITS IMAGE SAYS: the table of it that was found beside the image lies; "
			    "its reads fail from now on, and it is not made from that table again. Who may push to that "
			    "repository made it", j->key);
	}
	return r < 0 ? r : fd_write_file(dir_fd, "checked", "", 0, 0600);
}

/* What is left to be done: the job's next state, or a negative value that ends it. */
static int do_job(struct background *b, struct job *j)
{
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;
	char tar_key[LAYER_KEY_SIZE];
	int r;

	stream_key(&j->diff_id, tar_key);
	if (j->state == CHECKED) {
		r = keep_make_tar(b->context, j->key, tar_key);
		j->again = clock_ms() + RENAME_MS;
		return r == -EBUSY ? 0 : r < 0 ? r : -ENODATA;
	}
	r = layer_table_get(b->context->layers, j->key, &layer);
	if (r == 0)
		r = fill_layer(b, j, layer);
	if (r == -EINPROGRESS) {
		j->again = clock_ms() + LOOK_AGAIN_MS;
		return 0;
	}
	if (r == -EAGAIN && ++j->failed < FAILED_MAX) {
		j->again = clock_ms() + QUIET_MS;
		return 0;
	}
	if (r == 0 && !j->is_tar)
		return -ENODATA;
	if (r == 0)
		r = check(b, j);
	if (r < 0)
		return r;
	j->state = CHECKED;
	j->again = clock_ms() + QUIET_MS;
	return 0;
}

/* The lock is held. */
static struct job *next_job(struct background *b, int64_t *ret_soonest)
{
	int64_t now = clock_ms();

	*ret_soonest = INT64_MAX;
	for (struct job **at = &b->jobs; *at;) {
		struct job *j = *at;

		if (j->forget) {
			*at = j->next;
			free(j);
			continue;
		}
		if (j->again <= now)
			return j;
		if (j->again < *ret_soonest)
			*ret_soonest = j->again;
		at = &j->next;
	}
	return NULL;
}

/* The lock is held. */
static struct job *wait_for_job(struct background *b)
{
	struct job *j;
	int64_t soonest;

	while (!(j = next_job(b, &soonest))) {
		const struct timespec until = {soonest / 1000, soonest % 1000 * 1000000};

		if (soonest == INT64_MAX)
			pthread_cond_wait(&b->more, &b->lock);
		else
			pthread_cond_timedwait(&b->more, &b->lock, &until);
	}
	return j;
}

static void *work(void *argument)
{
	struct background *b = argument;

	for (;;) {
		char text[REPORT_TEXT_SIZE] = "";
		struct job *j;
		int r;

		pthread_mutex_lock(&b->lock);
		j = wait_for_job(b); /* only this thread frees jobs */
		pthread_mutex_unlock(&b->lock);
		report_capture(text);
		r = do_job(b, j);
		report_capture(NULL);
		if (r < 0 && r != -ENODATA && r != -ECANCELED && text[0])
			report_note("layer %s is not filled: %s", j->key, text);
		pthread_mutex_lock(&b->lock);
		j->forget = j->forget || r < 0;
		pthread_mutex_unlock(&b->lock);
	}
	return NULL;
}

int background_new(struct context *c, struct fill *fill, struct background **ret)
{
	struct background *b = calloc(1, sizeof(*b));
	pthread_condattr_t monotonic;

	if (!b)
		return -ENOMEM;
	b->context = c;
	b->fill = fill;
	pthread_mutex_init(&b->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&b->more, &monotonic);
	*ret = b;
	return 0;
}

/* The lock is held. */
static void add(struct background *b, const struct image_layer *l, enum background_when when)
{
	struct job **at = &b->jobs;

	for (; *at; at = &(*at)->next)
		if (strcmp((*at)->key, l->key) == 0 && !(*at)->forget) {
			(*at)->when = when;
			return;
		}
	*at = calloc(1, sizeof(**at));
	if (!*at)
		return;
	strcpy((*at)->key, l->key);
	(*at)->diff_id = l->diff_id;
	(*at)->is_tar = l->from == IMAGE_LAYER_ARTIFACT;
	(*at)->when = when;
}

void background_add(struct background *b, const struct image *image, enum background_when when, uint64_t rate)
{
	pthread_mutex_lock(&b->lock);
	b->rate = rate;
	for (size_t i = 0; i < image->n_layers; i++) {
		const struct image_layer *l = &image->layers[i];

		if (l->from != IMAGE_LAYER_TAR && when != BACKGROUND_NEVER)
			add(b, l, when);
	}
	if (b->jobs && !b->started)
		b->started = thread_start_detached(work, b) == 0;
	pthread_cond_signal(&b->more);
	pthread_mutex_unlock(&b->lock);
	if (when == BACKGROUND_NEVER)
		for (size_t i = 0; i < image->n_layers; i++)
			background_forget(b, image->layers[i].key);
}

void background_forget(struct background *b, const char *key)
{
	pthread_mutex_lock(&b->lock);
	for (struct job *j = b->jobs; j; j = j->next)
		if (!key || strcmp(j->key, key) == 0)
			j->forget = true;
	pthread_cond_signal(&b->more);
	pthread_mutex_unlock(&b->lock);
}

bool background_busy(struct background *b)
{
	bool busy = false;

	pthread_mutex_lock(&b->lock);
	for (struct job *j = b->jobs; j; j = j->next)
		busy = busy || (!j->forget && j->state == FILLING);
	pthread_mutex_unlock(&b->lock);
	return busy;
}
