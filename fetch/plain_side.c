/* A ring of four slots between the decoder and one consumer thread. */
#include "fetch/plain_side.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/report.h"
#include "base/thread.h"
#include "cache/layer_new.h"
#include "cache/layer_store.h"
#include "format/layer_builder.h"
#include "format/span_table.h"
#include "format/tar.h"

#define SLOTS 4u

struct plain_side {
	uint8_t *slots[SLOTS];
	size_t fill; /* of the slot being written; the decoder's */
	uint64_t pushed;
	bool running;
	bool digests;
	pthread_t thread;

	pthread_mutex_t lock; /* guards the five below */
	pthread_cond_t moved;
	uint64_t n_given, n_taken;
	size_t last_size; /* of the last slot when `ended` */
	bool ended;
	int result; /* negative: the thread stopped */
	char text[REPORT_TEXT_SIZE];

	/* The thread's own. */
	struct layer_new *layer;
	struct tar *tar;
	struct layer_builder *builder;
	struct hash *diff_hash;
	struct span_table_builder spans;
	uint64_t off;
};

/* A span ends at a page edge: the last one is padded with zeros. */
static int take_slot(struct plain_side *p, uint8_t *slot, size_t size)
{
	size_t padded = (size + LAYER_PAGE - 1) / LAYER_PAGE * LAYER_PAGE;
	struct span span = {.off = p->off,
			    .size = padded,
			    .kind = p->digests ? SPAN_STORED : SPAN_NONE,
			    .packed_off = p->off,
			    .packed_size = size,
			    .digest.algorithm = DIGEST_SHA256};
	int r;

	if (size == 0)
		return 0;
	hash_update(p->diff_hash, slot, size);
	memset(slot + size, 0, padded - size);
	if (p->digests)
		hash_bytes(slot, padded, &span.digest);
	r = layer_new_write(p->layer, slot, padded, p->off);
	if (r == 0)
		r = span_table_add(&p->spans, &span);
	if (r == 0)
		r = layer_builder_feed(p->builder, p->tar, slot, size);
	p->off += size;
	return r;
}

static void *consume(void *argument)
{
	struct plain_side *p = argument;
	int r = 0;

	report_capture(p->text);
	for (;;) {
		bool last;
		size_t size;
		uint8_t *slot;

		pthread_mutex_lock(&p->lock);
		while (p->n_given == p->n_taken && !p->ended)
			pthread_cond_wait(&p->moved, &p->lock);
		last = p->ended && p->n_given == p->n_taken;
		size = last ? p->last_size : SPAN_SIZE;
		slot = p->slots[p->n_taken % SLOTS];
		pthread_mutex_unlock(&p->lock);
		r = take_slot(p, slot, size);
		if (r == 0 && last)
			r = tar_finish(p->tar);
		pthread_mutex_lock(&p->lock);
		if (!last)
			p->n_taken++;
		if (r < 0)
			p->result = r;
		pthread_cond_broadcast(&p->moved);
		pthread_mutex_unlock(&p->lock);
		if (r < 0 || last)
			break;
	}
	report_capture(NULL);
	return NULL;
}

int plain_side_new(const struct store *s, bool digests, struct plain_side **ret)
{
	_cleanup_(plain_side_free) struct plain_side *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->digests = digests;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->moved, NULL);
	for (unsigned int i = 0; i < SLOTS; i++) {
		p->slots[i] = malloc(SPAN_SIZE);
		if (!p->slots[i])
			return -ENOMEM;
	}
	r = tar_new(&p->tar);
	if (r == 0)
		r = layer_builder_new(&p->builder);
	if (r == 0)
		r = hash_new(DIGEST_SHA256, &p->diff_hash);
	if (r == 0)
		r = layer_new_open(s, &p->layer);
	if (r < 0)
		return r;
	r = thread_start(&p->thread, consume, p);
	if (r < 0)
		return fail(-r, "no thread for unpacking: %s", strerror(-r));
	p->running = true;
	*ret = TAKE(p);
	return 0;
}

static int end_thread(struct plain_side *p, size_t last_size)
{
	if (!p->running)
		return p->result;
	pthread_mutex_lock(&p->lock);
	p->ended = true;
	p->last_size = last_size;
	pthread_cond_broadcast(&p->moved);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	p->running = false;
	return p->result;
}

void plain_side_free(struct plain_side **plain)
{
	struct plain_side *p = *plain;

	if (!p)
		return;
	end_thread(p, 0);
	for (unsigned int i = 0; i < SLOTS; i++)
		free(p->slots[i]);
	tar_free(&p->tar);
	layer_builder_free(&p->builder);
	hash_free(&p->diff_hash);
	layer_new_free(&p->layer);
	span_table_builder_free(&p->spans);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->moved);
	free(p);
	*plain = NULL;
}

int plain_side_room(struct plain_side *p, uint8_t **ret, size_t *ret_size)
{
	int r;

	pthread_mutex_lock(&p->lock);
	while (p->n_given - p->n_taken == SLOTS && p->result == 0)
		pthread_cond_wait(&p->moved, &p->lock);
	r = p->result;
	*ret = p->slots[p->n_given % SLOTS] + p->fill;
	pthread_mutex_unlock(&p->lock);
	if (r < 0)
		return p->text[0] ? fail(-r, "%s", p->text) : r;
	*ret_size = SPAN_SIZE - p->fill;
	return 0;
}

void plain_side_push(struct plain_side *p, size_t size)
{
	p->fill += size;
	p->pushed += size;
	assert(p->fill <= SPAN_SIZE);
	if (p->fill < SPAN_SIZE)
		return;
	p->fill = 0;
	pthread_mutex_lock(&p->lock);
	p->n_given++;
	pthread_cond_broadcast(&p->moved);
	pthread_mutex_unlock(&p->lock);
}

uint64_t plain_side_size(const struct plain_side *p)
{
	return p->pushed;
}

int plain_side_finish(struct plain_side *p)
{
	int r = end_thread(p, p->fill);

	return r < 0 && p->text[0] ? fail(-r, "%s", p->text) : r;
}

/* Expanded sparse members stand behind the tar's end. They have no digest of their own: they are
 * copies of verified bytes, and are never evicted. */
static int place_sparse(struct plain_side *p, uint64_t layer_file_size)
{
	struct span rest = {.off = p->spans.next_off, .kind = SPAN_COPY, .digest.algorithm = DIGEST_SHA256};
	struct layer_copy copy;
	uint64_t cookie = 0;

	while (layer_builder_copy(p->builder, &cookie, &copy) > 0) {
		int r = layer_new_copy(p->layer, &copy);

		if (r < 0)
			return r;
	}
	if (layer_file_size <= rest.off)
		return 0;
	rest.size = layer_file_size - rest.off;
	return span_table_add(&p->spans, &rest);
}

static int write_origin(struct plain_side *p, const struct layer_blob *blob, const char *repository)
{
	_cleanup_(bytes_free) struct bytes line = {0}, name = {0};
	int r = layer_blob_text(blob, &line);

	if (r == 0)
		r = bytes_printf(&name, "%s\n", repository);
	if (r == 0)
		r = layer_new_file(p->layer, LAYER_BLOB_FILE, line.data, line.size);
	return r == 0 ? layer_new_file(p->layer, "sources", name.data, name.size) : r;
}

int plain_side_commit(struct plain_side *p, const struct digest *diff_id, const char *key,
		      const struct layer_blob *blob, const char *repository)
{
	_cleanup_(bytes_free) struct bytes spans = {0};
	char want[DIGEST_TEXT_MAX], have[DIGEST_TEXT_MAX];
	uint64_t index_size, layer_file_size;
	struct digest got;
	void *index;
	int r;

	hash_finish(p->diff_hash, &got);
	if (!digest_equal(&got, diff_id))
		return fail(EBADMSG, "its unpacked bytes have digest %s, but the image config says %s: the image is broken",
			    digest_text(&got, have), digest_text(diff_id, want));
	r = layer_builder_finish(p->builder, p->off, &index_size, &layer_file_size);
	if (r < 0)
		return r;
	r = layer_new_index(p->layer, index_size, &index);
	if (r < 0)
		return r;
	layer_builder_render(p->builder, index);
	p->spans.plain_size = p->off;
	r = place_sparse(p, layer_file_size);
	if (r == 0)
		r = span_table_finish(&p->spans, &spans);
	if (r == 0 && blob)
		r = write_origin(p, blob, repository);
	if (r < 0)
		return r;
	return layer_new_commit(p->layer, key, layer_file_size, &spans);
}
