/* The packed bytes go through a file without a name, so that the decoder may be slower than the network. */
#include "fetch/passing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/report.h"
#include "base/thread.h"
#include "cache/layer_blob.h"
#include "fetch/lazy_pack.h"
#include "fetch/span_get.h"
#include "format/decoder.h"
#include "format/span_decode.h"

#define PACKED_SIZE (256u << 10)
#define LOOK_MS 20
#define AT_ONCE 4u /* from one repository: each may need a zstd window of 128 MiB. One that trickles holds up no other */
#define AGAIN_MS 1000 /* after a host could not be reached */

struct job {
	struct job *next;
	struct passing *all;
	struct layer_store *layer; /* a reference */
	uint32_t number;
	bool reader; /* one waits */
	const struct source *from; /* what it passes by from now; NULL: nothing */
};

struct passing {
	struct context *context;
	pthread_mutex_t lock; /* guards jobs and what they say, and n_opened */
	pthread_cond_t ended;
	struct job *jobs;
	unsigned int n_opened;
};

/* One pass. */
struct pass {
	struct job *job;
	struct download *download;
	struct decoder *decoder;
	uint8_t *packed, *plain;
	size_t n_plain; /* of the span that is being decoded */
	size_t span;
	uint64_t have, size; /* packed bytes */
};

static void pass_free(struct pass *p)
{
	download_free(&p->download);
	decoder_free(&p->decoder);
	free(p->packed);
	free(p->plain);
}

bool passing_is(const struct span *s)
{
	return s->kind == SPAN_PASSING;
}

static void answer(const struct job *j, uint64_t off, uint64_t size, int error)
{
	struct need n = {.kind = error ? NEED_FAILED : NEED_DONE,
			 .number = j->number,
			 .error = (uint32_t)error,
			 .first_page = off / LAYER_PAGE,
			 .n_pages = (off + size + LAYER_PAGE - 1) / LAYER_PAGE - off / LAYER_PAGE};

	while (send(j->all->context->setup->need_fd, &n, sizeof(n), MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

static int put_span(struct pass *p, const struct span *s)
{
	struct layer_store *layer = p->job->layer;
	int r = 0;

	memset(p->plain + p->n_plain, 0, (size_t)s->size - p->n_plain);
	if (!span_decode_verify(s, p->packed, p->plain))
		return fail(EBADMSG, "layer %s is not what the artifact's table says at %" PRIu64 "; --trust=pinned does without it",
			    layer_store_key(layer), s->off);
	if (!layer_store_has_span(layer, p->span))
		r = layer_store_put_span(layer, p->span, p->plain);
	if (r < 0)
		return fail(-r, "layer %s cannot be written in %s: %s", layer_store_key(layer),
			    p->job->all->context->store->store_path, strerror(-r));
	answer(p->job, s->off, s->size, 0);
	p->span++;
	p->n_plain = 0;
	return 0;
}

static int decode(struct pass *p, size_t size)
{
	const struct span_table *t = layer_store_spans(p->job->layer);
	size_t used = 0;

	for (;;) {
		size_t took = 0, made = 0, room = 0;
		struct span s = {0};
		uint8_t beyond;
		int r;

		if (p->span < span_table_count(t)) {
			span_table_get(t, p->span, &s);
			room = (size_t)s.size - p->n_plain;
		}
		r = decoder_run(p->decoder, p->packed + used, size - used, &took, room ? p->plain + p->n_plain : &beyond,
				room ? room : 1, &made);
		if (r < 0)
			return r;
		if (made && !room)
			return fail(EBADMSG, "layer %s has more bytes than the artifact says", layer_store_key(p->job->layer));
		used += took;
		p->n_plain += made;
		if (room && p->n_plain == s.size)
			r = put_span(p, &s);
		if (r < 0 || (used == size && made < (room ? room : 1)) || (took == 0 && made == 0))
			return r;
	}
}

/* The tar ends inside its last page. */
static int finish(struct pass *p)
{
	const struct span_table *t = layer_store_spans(p->job->layer);
	int r = decoder_finish(p->decoder);
	struct span s;

	if (r == 0 && p->n_plain > 0 && p->span + 1 == span_table_count(t)) {
		span_table_get(t, p->span, &s);
		if (s.size - p->n_plain < LAYER_PAGE)
			r = put_span(p, &s);
	}
	return r == 0 && p->span < span_table_count(t) ?
		       fail(EBADMSG, "layer %s ends before the artifact says", layer_store_key(p->job->layer)) :
		       r;
}

static int follow(struct pass *p)
{
	uint64_t available = 0;
	int r = 0;

	while (r == 0 && p->have < p->size) {
		size_t n;

		r = p->have < available ? 0 : download_wait(p->download, p->have, &available);
		if (r < 0)
			return r;
		n = available - p->have < PACKED_SIZE ? (size_t)(available - p->have) : PACKED_SIZE;
		r = fd_pread_full(download_fd(p->download), p->packed, n, p->have);
		if (r == 0 && !p->decoder)
			r = decoder_new(decoder_sniff(p->packed, n), &p->decoder);
		if (r == 0)
			r = decode(p, n);
		p->have += n;
	}
	return r < 0 ? r : p->decoder ? finish(p) : -EBADMSG;
}

static int open_nameless(struct passing *all)
{
	const struct store *s = all->context->store;
	char name[64];
	int fd;

	pthread_mutex_lock(&all->lock);
	snprintf(name, sizeof(name), "old-passing-%u", all->n_opened++); /* swept when we die just here */
	pthread_mutex_unlock(&all->lock);
	fd = openat(s->tmp_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fail(errno, "%s/tmp/%s cannot be made: %s", s->store_path, name, strerror(errno));
	unlinkat(s->tmp_fd, name, 0);
	return fd;
}

static int pass_from(struct job *j, struct source *source, const struct layer_blob *blob)
{
	_cleanup_(fd_close) int fd = -1; /* closed behind the download */
	_cleanup_(pass_free) struct pass p = {.job = j, .size = blob->size};
	int r;

	p.packed = malloc(PACKED_SIZE);
	p.plain = malloc(SPAN_SIZE);
	if (!p.packed || !p.plain)
		return -ENOMEM;
	fd = open_nameless(j->all);
	r = fd < 0 ? fd : source_download(source, &(struct descriptor){.digest = blob->digest, .size = blob->size}, fd, 0, &p.download);
	return r < 0 ? r : follow(&p);
}

/* The lock is held. */
static unsigned int count_from(const struct passing *all, const struct source *source)
{
	unsigned int n = 0;

	for (const struct job *j = all->jobs; j; j = j->next)
		n += j->from == source;
	return n;
}

static int pass_in_turn(struct job *j, struct source *source, const struct layer_blob *blob)
{
	struct passing *all = j->all;
	int r;

	pthread_mutex_lock(&all->lock);
	while (count_from(all, source) == AT_ONCE)
		pthread_cond_wait(&all->ended, &all->lock);
	j->from = source;
	pthread_mutex_unlock(&all->lock);
	r = pass_from(j, source, blob);
	pthread_mutex_lock(&all->lock);
	j->from = NULL;
	pthread_cond_broadcast(&all->ended);
	pthread_mutex_unlock(&all->lock);
	return r;
}

static int pass_by(struct job *j)
{
	const char *key = layer_store_key(j->layer);
	struct context *c = j->all->context;
	struct layer_blob blob;
	struct source *source;
	int r;

	if (atomic_load(&c->offline))
		return fail(EIO, "layer %s: bytes are missing, and nothing may be asked of a registry (--offline)", key);
	r = layer_blob_get(c->store, key, &blob);
	source = r < 0 ? NULL : span_get_source(c, j->layer);
	if (!source)
		return fail(EIO, "layer %s: bytes are missing and no registry is known to have them; run lazyrun pull IMAGE", key);
	return pass_in_turn(j, source, &blob);
}

static bool is_awaited(struct job *j)
{
	bool reader;

	pthread_mutex_lock(&j->all->lock);
	reader = j->reader;
	pthread_mutex_unlock(&j->all->lock);
	return reader;
}

static void nap(unsigned int ms)
{
	nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

/* Wrong bytes are asked for once more; a host that is away for as long as readers wait. */
static int pass_until_done(struct job *j, char text[static REPORT_TEXT_SIZE])
{
	int64_t deadline = clock_ms() + 1000 * (int64_t)atomic_load(&j->all->context->read_timeout);
	bool wrong = false;

	for (;;) {
		char *outer = report_capture(text);
		int r = pass_by(j);

		report_capture_again(outer);
		if (r == -EBADMSG && wrong)
			layer_store_mark_bad(j->all->context->store, layer_store_key(j->layer));
		if (r == -EBADMSG && !wrong)
			wrong = true;
		else if (!span_get_passes(r) || clock_ms() >= deadline)
			return r;
		nap(AGAIN_MS);
	}
}

static void end_job(struct job *j)
{
	struct passing *all = j->all;

	pthread_mutex_lock(&all->lock);
	for (struct job **at = &all->jobs; *at; at = &(*at)->next)
		if (*at == j) {
			*at = j->next;
			break;
		}
	pthread_mutex_unlock(&all->lock);
}

static void *run(void *argument)
{
	struct job *j = argument;
	char text[REPORT_TEXT_SIZE] = "";
	int r;

	while (lazy_pack_any(j->all->context->packs) && !is_awaited(j))
		nap(LOOK_MS);
	r = pass_until_done(j, text);
	end_job(j); /* before the answer: who asks after it begins anew */
	if (r < 0) {
		report_note("%s", text[0] ? text : strerror(-r));
		answer(j, 0, layer_store_size(j->layer), EIO);
	}
	layer_store_free(&j->layer);
	free(j);
	return NULL;
}

/* The lock is held. */
static struct job *find(struct passing *p, const char *layer_key)
{
	struct job *j = p->jobs;

	while (j && strcmp(layer_store_key(j->layer), layer_key) != 0)
		j = j->next;
	return j;
}

int passing_new(struct context *c, struct passing **ret)
{
	struct passing *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->context = c;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->ended, NULL);
	*ret = p;
	return 0;
}

int passing_want(struct passing *p, struct layer_store *layer, uint32_t number, bool reader)
{
	struct job *j;
	int r = 0;

	if (layer_store_is_bad(p->context->store, layer_store_key(layer)))
		return -EIO; /* its table lies */
	pthread_mutex_lock(&p->lock);
	j = find(p, layer_store_key(layer));
	if (j) {
		j->reader = j->reader || reader;
	} else if ((j = calloc(1, sizeof(*j)))) {
		*j = (struct job){.next = p->jobs, .all = p, .layer = layer_store_again(layer), .number = number, .reader = reader};
		p->jobs = j;
		r = thread_start_detached(run, j);
		if (r < 0) {
			p->jobs = j->next;
			layer_store_free(&j->layer);
			free(j);
		}
	} else {
		r = -ENOMEM;
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}

bool passing_runs(struct passing *p, const char *layer_key)
{
	bool runs;

	pthread_mutex_lock(&p->lock);
	runs = find(p, layer_key);
	pthread_mutex_unlock(&p->lock);
	return runs;
}
