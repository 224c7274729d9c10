/* Worker threads take the next missing layer, each from where it comes fastest; the calling thread tells how it goes. */
#include "fetch/ensure_layers.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/message.h"
#include "base/report.h"
#include "base/thread.h"
#include "cache/layer_blob.h"
#include "cache/layer_sources.h"
#include "fetch/first_touch.h"
#include "fetch/index_sources.h"
#include "fetch/lazy_pack.h"
#include "fetch/profile_blob.h"
#include "fetch/way_back.h"

#define WORKERS 8u
#define TELL_MS 100
#define INVALIDATE_MS 1000

struct work {
	struct context *context;
	struct image *image;
	struct source *source;
	const struct ensure_how *how;
	struct index_sources sources;
	const atomic_bool *gone; /* the listener's */
	struct stream_progress *progress; /* one a layer */
	sem_t decoders; /* one for each core; of this image: a registry that trickles holds up no other image */
	pthread_mutex_t lock;		  /* guards the next four */
	pthread_cond_t ended;
	size_t next;
	unsigned int running;
	int result;
	char text[REPORT_TEXT_SIZE];
};

/* Whether the layer's spans count in this image's blob: the one it was unpacked from, or the tar itself. */
static bool is_cut_from(const struct context *c, const struct image_layer *l)
{
	struct layer_blob blob;
	int r = layer_blob_get(c->store, l->key, &blob);

	return r == -ENOENT ? digest_equal(&l->blob.digest, &l->diff_id) :
			      r == 0 && digest_equal(&blob.digest, &l->blob.digest);
}

/* A layer counts as there when its bytes are, or this image itself is the way back to them. What other
 * images of the store know of a way back is used when nothing may be asked of this one's registry. */
static bool usable(const struct work *w, const struct image_layer *l)
{
	struct context *c = w->context;
	_cleanup_(layer_sources_free) char **names = NULL;
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;
	size_t n = 0;

	if (layer_table_get(c->layers, l->key, &layer) < 0)
		return false;
	if (l->from == IMAGE_LAYER_TAR && !layer_blob_unpacks_to(c->store, l->key, &l->diff_id, &l->blob.digest))
		return false;
	if (!layer_store_is_whole(c->store, layer)) {
		layer_table_drop(c->layers, l->key);
		return false;
	}
	if (layer_store_bytes_present(layer) == layer_store_size(layer))
		return true;
	if (w->how->whole)
		return false;
	if (l->from != IMAGE_LAYER_TAR || (way_back_is_there(layer) && is_cut_from(c, l))) /* by range, from itself */
		return true;
	return !w->source && layer_sources_get(c->store, l->key, &names, &n) == 0 && n > 0;
}

/* A layer that is made anew must not be served from what the server mapped before: it gets a new number. */
static void forget_damaged(struct context *c, const struct image_layer *l)
{
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;
	uint32_t number;

	pthread_mutex_lock(&c->store_lock);
	if (layer_table_get(c->layers, l->key, &layer) < 0 &&
	    number_table_find_layer(c->numbers, l->key, &number) == 0) {
		number_table_remove_layer(c->numbers, number);
		context_tell_server(c, NEED_INVALIDATE_LAYER, number);
	}
	pthread_mutex_unlock(&c->store_lock);
}

static int stream_missing(struct work *w, size_t i)
{
	const struct image_layer *l = &w->image->layers[i];
	struct stream_job job = {
		.store = w->context->store,
		.source = w->source,
		.repository = w->image->repository,
		.blob = l->blob,
		.diff_id = l->diff_id,
		.decoders = &w->decoders,
		.progress = &w->progress[i],
	};

	if (w->how->require_lazy && !index_sources_leave_out(&w->sources, l))
		return fail(EOPNOTSUPP, "it would have to be streamed (--require-lazy): %s",
			    index_sources_why_not(&w->sources));
	forget_damaged(w->context, l);
	return stream_layer(&job);
}

static int make_missing(struct work *w, size_t i)
{
	const struct image_layer *l = &w->image->layers[i];
	struct flight flight = {.blob = l->blob.digest, .gone = w->gone};
	int r = 0;

	if (!w->source)
		return fail(ENOENT, "it is not in the store, and nothing may be asked of the registry (--offline or --pull=never)");
	strcpy(flight.layer_key, l->key);
	r = context_enter_flight(w->context, &flight);
	if (r < 0)
		return r;
	if (!usable(w, l)) { /* else another request made it meanwhile */
		/* With an index, nothing else of the layer is needed now. */
		r = index_sources_make(&w->sources, l);
		if (r == -ENOENT)
			r = stream_missing(w, i);
	}
	if (r == 0)
		atomic_store(&w->progress[i].state, STREAM_DONE);
	context_leave_flight(w->context, &flight);
	return r;
}

static void name_layer(struct work *w, size_t i, int r, const char *text)
{
	const struct image_layer *l = &w->image->layers[i];
	char digest[DIGEST_TEXT_MAX], errno_text[128];

	if (!text[0])
		text = strerror_r(-r, errno_text, sizeof(errno_text));
	snprintf(w->text, sizeof(w->text), "%.512s: layer %zu of %zu (%.19s, %" PRIu64 " bytes): %.1200s",
		 w->image->name.reference, i + 1, w->image->n_layers, digest_text(&l->blob.digest, digest), l->blob.size,
		 text);
}

static void *work(void *argument)
{
	struct work *w = argument;

	pthread_mutex_lock(&w->lock);
	while (w->result == 0 && w->next < w->image->n_layers) {
		size_t i = w->next++;
		char text[REPORT_TEXT_SIZE];
		int r = 0;

		if (atomic_load(&w->progress[i].state) == STREAM_PRESENT)
			continue;
		pthread_mutex_unlock(&w->lock);
		report_capture(text);
		r = make_missing(w, i);
		report_capture(NULL);
		pthread_mutex_lock(&w->lock);
		if (r < 0 && w->result == 0) {
			w->result = r;
			name_layer(w, i, r, text);
		}
	}
	w->running--;
	pthread_cond_signal(&w->ended);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static const char *state_text(int state)
{
	switch ((enum stream_state)state) {
	case STREAM_WAITING:
		return "waiting";
	case STREAM_RUNNING:
		return "streaming";
	case STREAM_DONE:
		return "done";
	case STREAM_PRESENT:
		return "present";
	}
	return "waiting";
}

static void tell_layer(const struct work *w, const struct ensure_listener *listener, size_t i, int state,
		       uint64_t done)
{
	_cleanup_(json_field_free) struct json_object *o = json_object_new_object();
	struct message_head head = {.kind = MESSAGE_REPLY, .connection = listener->connection};
	const struct image_layer *l = &w->image->layers[i];
	char digest[DIGEST_TEXT_MAX];

	json_object_object_add(o, "event", json_object_new_string("layer"));
	json_object_object_add(o, "layer", json_object_new_int((int)i));
	json_object_object_add(o, "layers", json_object_new_int((int)w->image->n_layers));
	json_object_object_add(o, "digest", json_object_new_string(digest_text(&l->blob.digest, digest)));
	json_object_object_add(o, "done", json_object_new_int64((int64_t)done));
	json_object_object_add(o, "total", json_object_new_int64((int64_t)l->blob.size));
	json_object_object_add(o, "state", json_object_new_string(state_text(state)));
	message_send(listener->command_fd, &head, o, 1000);
}

/* Packets for what moved since the last time; `told` holds one value a layer. */
static void tell(const struct work *w, const struct ensure_listener *listener, uint64_t *told)
{
	for (size_t i = 0; listener->wanted && i < w->image->n_layers; i++) {
		int state = atomic_load(&w->progress[i].state);
		uint64_t done = state >= STREAM_DONE ? w->image->layers[i].blob.size :
						       atomic_load(&w->progress[i].done);
		uint64_t now = (done << 3 | (uint64_t)state) + 1;

		if (told[i] == now)
			continue;
		told[i] = now;
		tell_layer(w, listener, i, state, done);
	}
}

/* Nobody waits for the answer. A layer that another request waits for is brought to its end all the same. */
static void give_up(struct work *w)
{
	pthread_mutex_lock(&w->lock);
	if (w->result == 0) {
		w->result = -ECANCELED;
		snprintf(w->text, sizeof(w->text), "%.512s: given up, the command that wanted it is gone",
			 w->image->name.reference);
	}
	pthread_mutex_unlock(&w->lock);
	for (size_t i = 0; i < w->image->n_layers; i++)
		if (!context_flight_is_wanted(w->context, &w->image->layers[i].blob.digest))
			atomic_store(&w->progress[i].stop, true);
}

static int run_workers(struct work *w, size_t n_missing, const struct ensure_listener *listener)
{
	_cleanup_(fd_free_memory) uint64_t *told = calloc(w->image->n_layers, sizeof(*told));
	pthread_t threads[WORKERS];
	unsigned int n = 0;

	if (!told)
		return -ENOMEM;
	w->gone = listener->gone;
	w->running = n_missing < WORKERS ? (unsigned int)n_missing : WORKERS;
	for (unsigned int i = w->running; i > 0; i--) {
		if (thread_start(&threads[n], work, w) == 0) {
			n++;
			continue;
		}
		pthread_mutex_lock(&w->lock);
		w->running--;
		pthread_mutex_unlock(&w->lock);
	}
	pthread_mutex_lock(&w->lock);
	while (w->running > 0) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += TELL_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		pthread_cond_timedwait(&w->ended, &w->lock, &until);
		pthread_mutex_unlock(&w->lock);
		tell(w, listener, told);
		if (atomic_load(w->gone))
			give_up(w);
		pthread_mutex_lock(&w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	for (unsigned int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	if (n == 0)
		return fail(EAGAIN, "no thread can be started for unpacking layers");
	return w->result < 0 ? fail(-w->result, "%s", w->text) : 0;
}

static int number_layer(struct context *c, const struct image *image, const struct image_layer *l, uint32_t *ret)
{
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;
	int r = layer_table_get(c->layers, l->key, &layer);

	if (r < 0)
		return r == -ENOENT ? fail(EIO, "layer %s is gone from the store; try again", l->key)
				    : fail(-r, "layer %s in the store cannot be opened: %s", l->key, strerror(-r));
	if (l->from != IMAGE_LAYER_TAR || is_cut_from(c, l))
		layer_sources_add(c->store, l->key, image->repository);
	return number_table_add_layer(c->numbers, l->key, ret);
}

/* The command will look the image up as soon as it is answered, and must not find what was there before.
 * A server that is stopped or dead is not waited for: it starts from what is true then. */
static void invalidate_image(struct context *c, uint32_t number)
{
	unsigned int before = atomic_load(c->setup->n_invalidated);
	int64_t deadline = clock_ms() + INVALIDATE_MS;

	context_tell_server(c, NEED_INVALIDATE_IMAGE, number);
	while (atomic_load(c->setup->n_invalidated) == before && clock_ms() < deadline)
		usleep(500);
}

static int number_image(struct context *c, struct image *image)
{
	uint32_t numbers[LIMIT_LAYERS], number, before = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < image->n_layers; i++)
		r = number_layer(c, image, &image->layers[i], &numbers[i]);
	if (r < 0)
		return r;
	number_table_find_image(c->numbers, image->key, &before);
	r = number_table_add_image(c->numbers, image->key, numbers, image->n_layers, &number);
	if (r == 0)
		image->number = number;
	/* A damaged layer was made anew: what the kernel and the server know under the image's name is old. */
	if (r == 0 && before && number != before)
		invalidate_image(c, before);
	return r;
}

/* Of the bytes that are missing a start pack may bring some: that is a thread's business. */
static bool is_plainly_there(struct work *w, const struct image_layer *l)
{
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;

	if (!usable(w, l))
		return false;
	return l->from != IMAGE_LAYER_ARTIFACT || (layer_table_get(w->context->layers, l->key, &layer) == 0 &&
					      layer_store_bytes_present(layer) == layer_store_size(layer));
}

bool ensure_layers_known(struct context *c, struct image *image, const struct ensure_how *how)
{
	struct work w = {.context = c, .image = image, .how = how};
	uint32_t number;
	bool known;

	if (pthread_mutex_trylock(&c->store_lock) != 0)
		return false;
	known = number_table_find_image(c->numbers, image->key, &image->number) == 0;
	for (size_t i = 0; known && i < image->n_layers; i++)
		known = number_table_find_layer(c->numbers, image->layers[i].key, &number) == 0 &&
			is_plainly_there(&w, &image->layers[i]);
	pthread_mutex_unlock(&c->store_lock);
	return known;
}

static int number_all(struct context *c, struct image *image)
{
	int r;

	pthread_mutex_lock(&c->store_lock);
	r = image_choose_layers(c, image);
	if (r == 0)
		r = number_image(c, image);
	pthread_mutex_unlock(&c->store_lock);
	return r;
}

/* Whether a layer that is missing has nothing but what hangs on the image to start from. */
static bool wants_sources(const struct work *w)
{
	for (size_t i = 0; i < w->image->n_layers; i++) {
		const struct image_layer *l = &w->image->layers[i];

		if (atomic_load(&w->progress[i].state) == STREAM_WAITING && !index_sources_has_table(l))
			return true;
	}
	return false;
}

static int make_all(struct work *w, const struct ensure_listener *listener)
{
	struct image *image = w->image;
	struct lazy_pack *pack = NULL;
	struct profile_blob profile = {0};
	size_t n_missing = 0;
	int r = 0;

	for (size_t i = 0; i < image->n_layers; i++) {
		bool there = usable(w, &image->layers[i]);

		atomic_store(&w->progress[i].state, there ? STREAM_PRESENT : STREAM_WAITING);
		n_missing += !there;
	}
	w->sources = (struct index_sources){.context = w->context,
					   .image = image,
					   .source = w->source,
					   .require_lazy = w->how->require_lazy,
					   .whole = w->how->whole};
	if (w->source && wants_sources(w))
		r = index_sources_find(&w->sources);
	else if (w->source)
		index_sources_known(&w->sources);
	/* Side by side with the layers' indexes. */
	if (r == 0 && w->sources.artifact)
		lazy_pack_begin(w->context->packs,
				&(struct lazy_pack_for){w->source, image, w->sources.artifact, w->how->command, n_missing == 0},
				&pack);
	if (r == 0 && w->sources.artifact && !pack && w->how->start && w->how->command)
		profile_blob_begin(w->context, w->source, image, w->sources.artifact, w->how->command, &profile);
	if (r == 0 && n_missing)
		r = run_workers(w, n_missing, listener);
	profile_blob_end(&profile);
	if (r == 0)
		r = number_all(w->context, image);
	if (r == 0 && pack)
		lazy_pack_run(&pack, image, w->sources.artifact);
	else if (r == 0 && w->how->start && w->how->command)
		first_touch_begin(w->context->touches, image, w->how->command);
	lazy_pack_drop(&pack);
	return r;
}

int ensure_layers(struct context *c, struct image *image, struct source *source, const struct ensure_how *how,
		  const struct ensure_listener *listener)
{
	struct work *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->context = c;
	w->image = image;
	w->source = source;
	w->how = how;
	w->progress = calloc(image->n_layers, sizeof(*w->progress));
	sem_init(&w->decoders, 0, c->n_cores);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->ended, NULL);
	r = w->progress ? make_all(w, listener) : -ENOMEM;
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->ended);
	sem_destroy(&w->decoders);
	index_sources_free(&w->sources);
	free(w->progress);
	free(w);
	return r;
}
