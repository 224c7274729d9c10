/* One sequential download; each frame is checked against the head, and the head against the artifact's manifest. */
#include "fetch/lazy_pack.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/beside.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/report.h"
#include "base/thread.h"
#include "cache/blob_store.h"
#include "format/pack.h"

#define RECENT 64u
#define RECENT_MS 10000 /* as long as the server tells what is touched behind a read that waited for the pack */

struct lazy_packs {
	struct context *context;
	struct fill *fill;
	pthread_mutex_t lock; /* guards the list, and what each says it guards */
	struct lazy_pack *first;
	struct {
		uint32_t number;
		int64_t until; /* clock_ms() */
	} recent[RECENT]; /* layers that a pack has filled; a ring */
	unsigned int n_recent;
};

struct held {
	struct held *next;
	struct need need;
};

struct target { /* a layer of the image that was made from the artifact, so that its pack may fill it */
	struct digest index;
	struct layer_store *layer;
	uint32_t number;
	uint64_t n_pages;
	uint64_t *expected; /* a bit for each page that will still come; NULL as long as that is not known: then all
			       may come. The list's lock guards it */
};

struct lazy_pack {
	struct lazy_pack *next;
	struct lazy_packs *packs;
	struct source *source;
	struct lazy_artifact_pack what; /* its command is not used */
	struct download *download;
	int fd;
	struct bytes head;
	struct pack *pack;
	struct target *targets;
	size_t n_targets;
	struct target **by_layer; /* by the pack's own count of layers; NULL: not one that it may fill */
	struct held *held; /* the list's lock guards it */
};

int lazy_pack_new(struct context *c, struct fill *fill, struct lazy_packs **ret)
{
	struct lazy_packs *packs = calloc(1, sizeof(*packs));

	if (!packs)
		return -ENOMEM;
	packs->context = c;
	packs->fill = fill;
	pthread_mutex_init(&packs->lock, NULL);
	*ret = packs;
	return 0;
}

static bool page_present(const struct layer_store *layer, uint64_t page)
{
	uint64_t off = page * LAYER_PAGE, size = layer_store_size(layer);

	return off >= size || layer_store_present(layer, off, 1);
}

/* The image's layers that were made from the artifact. */
static int find_targets(struct lazy_pack *p, const struct image *image, const struct lazy_artifact *a)
{
	struct context *c = p->packs->context;

	p->targets = calloc(image->n_layers, sizeof(*p->targets));
	if (!p->targets)
		return -ENOMEM;
	for (size_t i = 0; i < image->n_layers; i++) {
		const struct image_layer *l = &image->layers[i];
		struct target *t = &p->targets[p->n_targets];
		const struct lazy_artifact_layer *from = lazy_artifact_layer(a, &l->blob.digest);

		if (l->from != IMAGE_LAYER_ARTIFACT || !from || layer_table_get(c->layers, l->key, &t->layer) < 0)
			continue;
		p->n_targets++;
		t->index = from->index.digest;
		t->n_pages = (layer_store_size(t->layer) + LAYER_PAGE - 1) / LAYER_PAGE;
		if (number_table_find_layer(c->numbers, l->key, &t->number) < 0)
			t->number = 0; /* before lazy_pack_run() */
	}
	return 0;
}

static struct target *target_of(const struct lazy_pack *p, const struct digest *index)
{
	for (size_t i = 0; i < p->n_targets; i++)
		if (digest_equal(&p->targets[i].index, index))
			return &p->targets[i];
	return NULL;
}

/* Pages that are missing in the layers, and that the pack has. */
static uint64_t count_missing(const struct lazy_pack *p)
{
	uint64_t n = 0;

	for (size_t i = 0; i < pack_n_frames(p->pack); i++) {
		struct pack_frame f;

		pack_frame_get(p->pack, i, &f);
		for (size_t k = 0; k < f.n_runs; k++) {
			const struct target *t = p->by_layer[f.runs[k].layer];

			for (uint64_t page = f.runs[k].first; t && page < f.runs[k].first + f.runs[k].n; page++)
				n += !page_present(t->layer, page);
		}
	}
	return n;
}

/* From now on the readers of other pages are not held. */
static int expect(struct lazy_pack *p)
{
	for (size_t i = 0; i < p->n_targets; i++) {
		p->targets[i].expected = calloc(p->targets[i].n_pages / 64 + 1, sizeof(uint64_t));
		if (!p->targets[i].expected)
			return -ENOMEM;
	}
	for (size_t i = 0; i < pack_n_frames(p->pack); i++) {
		struct pack_frame f;

		pack_frame_get(p->pack, i, &f);
		for (size_t k = 0; k < f.n_runs; k++) {
			struct target *t = p->by_layer[f.runs[k].layer];

			for (uint64_t page = f.runs[k].first; t && page < f.runs[k].first + f.runs[k].n; page++)
				if (page < t->n_pages)
					t->expected[page / 64] |= UINT64_C(1) << (page % 64);
		}
	}
	return 0;
}

static int open_head(struct lazy_pack *p)
{
	struct digest got;
	int r;

	hash_bytes(p->head.data, p->head.size, &got);
	if (!digest_equal(&got, &p->what.head))
		return fail(EBADMSG, "the start pack's head does not match its digest in %s", source_name(p->source));
	r = pack_parse(p->head.data, p->head.size, p->what.blob.size, &p->pack);
	if (r < 0)
		return fail(-r, "the start pack in %s is broken: its head is not one", source_name(p->source));
	p->by_layer = calloc(pack_n_layers(p->pack) + 1, sizeof(struct target *));
	if (!p->by_layer)
		return -ENOMEM;
	for (size_t i = 0; i < pack_n_layers(p->pack); i++)
		p->by_layer[i] = target_of(p, pack_layer(p->pack, i));
	return 0;
}

static int start_download(struct lazy_pack *p)
{
	struct descriptor d = {.digest = p->what.blob.digest, .size = p->what.blob.size};

	p->fd = openat(p->packs->context->store->tmp_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (p->fd < 0)
		p->fd = memfd_create("pack", MFD_CLOEXEC);
	if (p->fd < 0)
		return fail(errno, "no file for the start pack: %s", strerror(errno));
	return source_download(p->source, &d, p->fd, 0, &p->download);
}

static void free_targets(struct lazy_pack *p)
{
	for (size_t i = 0; i < p->n_targets; i++) {
		layer_store_free(&p->targets[i].layer);
		free(p->targets[i].expected);
	}
	free(p->targets);
	free(p->by_layer);
	p->targets = NULL;
	p->by_layer = NULL;
	p->n_targets = 0;
	pack_free(&p->pack);
	bytes_free(&p->head);
}

void lazy_pack_drop(struct lazy_pack **pack)
{
	struct lazy_pack *p = *pack;

	if (!p)
		return;
	download_free(&p->download);
	fd_close(&p->fd);
	free_targets(p);
	free(p);
	*pack = NULL;
}

/* A head that is in the store says without any request whether the pack is needed again. */
static bool is_needed(struct lazy_pack *p, const struct image *image, const struct lazy_artifact *a)
{
	bool needed = true;

	if (blob_store_get(p->packs->context->store, &p->what.head, PACK_HEAD_MAX, &p->head) == 0)
		needed = find_targets(p, image, a) == 0 && open_head(p) == 0 && count_missing(p) > 0;
	free_targets(p);
	return needed;
}

void lazy_pack_begin(struct lazy_packs *packs, const struct lazy_pack_for *to, struct lazy_pack **ret)
{
	_cleanup_(bytes_free) struct bytes own = {0};
	const struct lazy_artifact_pack *what;
	struct lazy_pack *p;

	*ret = NULL;
	if (to->artifact->n_packs == 0 || lazy_artifact_command(to->image->command, &own) < 0)
		return;
	what = lazy_artifact_choose(to->artifact, to->command ? to->command : (const char *)own.data,
				    (const char *)own.data);
	p = what ? calloc(1, sizeof(*p)) : NULL;
	if (!p)
		return;
	p->packs = packs;
	p->source = to->source;
	p->what = *what;
	p->what.command = NULL;
	p->fd = -1;
	if ((to->all_made && !is_needed(p, to->image, to->artifact)) || start_download(p) < 0)
		lazy_pack_drop(&p);
	*ret = p;
}

static void tell_done(const struct lazy_pack *p, const struct target *t, const struct pack_run *run)
{
	struct need n = {.kind = NEED_DONE, .number = t->number, .first_page = run->first, .n_pages = run->n};

	while (send(p->packs->context->setup->need_fd, &n, sizeof(n), MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

/* Pages that came another way meanwhile are not written again. */
static int put_run(const struct target *t, const struct pack_run *run, const uint8_t *plain)
{
	uint64_t size = layer_store_size(t->layer);
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < run->n; i++) {
		uint64_t off = (run->first + i) * LAYER_PAGE;

		if (page_present(t->layer, run->first + i))
			continue;
		r = layer_store_put(t->layer, plain + i * LAYER_PAGE, size - off < LAYER_PAGE ? size - off : LAYER_PAGE,
				    off);
	}
	return r;
}

static void forget_expected(struct lazy_pack *p, struct target *t, const struct pack_run *run)
{
	pthread_mutex_lock(&p->packs->lock);
	for (uint64_t page = run->first; page < run->first + run->n && page < t->n_pages; page++)
		t->expected[page / 64] &= ~(UINT64_C(1) << (page % 64));
	pthread_mutex_unlock(&p->packs->lock);
}

static int put_frame(struct lazy_pack *p, const struct pack_frame *f, const uint8_t *plain)
{
	for (size_t k = 0; k < f->n_runs; k++) {
		struct target *t = p->by_layer[f->runs[k].layer];
		int r;

		if (t) {
			r = put_run(t, &f->runs[k], plain);
			if (r < 0)
				return fail(-r, "a start pack cannot be written to the store: %s", strerror(-r));
			forget_expected(p, t, &f->runs[k]);
			tell_done(p, t, &f->runs[k]);
		}
		plain += (size_t)f->runs[k].n * PACK_PAGE;
	}
	return 0;
}

/* Waits until the download has [off, off + size), and reads it. */
static int take(struct lazy_pack *p, uint64_t off, size_t size, void *ret, uint64_t *have)
{
	int r = 0;

	while (r == 0 && *have < off + size)
		r = download_wait(p->download, *have, have);
	if (r == 0) {
		r = fd_pread_full(download_fd(p->download), ret, size, off);
		if (r < 0)
			return fail(-r, "a start pack cannot be read back: %s", strerror(-r));
	}
	return r;
}

/* The list's lock is held. */
static bool is_expected(const struct lazy_pack *p, const struct need *n)
{
	for (size_t i = 0; i < p->n_targets; i++) {
		const struct target *t = &p->targets[i];

		if (t->number != n->number)
			continue;
		if (!t->expected)
			return true;
		for (uint64_t page = n->first_page; page - n->first_page < n->n_pages; page++)
			if (!page_present(t->layer, page) &&
			    (page >= t->n_pages || !(t->expected[page / 64] & UINT64_C(1) << (page % 64))))
				return false;
		return true;
	}
	return false;
}

/* Gives what was held to `fill`: all of it, or what is not expected any more. */
static void release(struct lazy_pack *p, bool only_unexpected)
{
	struct held *go = NULL, *next;

	pthread_mutex_lock(&p->packs->lock);
	for (struct held **at = &p->held; *at;) {
		struct held *h = *at;

		if (only_unexpected && is_expected(p, &h->need)) {
			at = &h->next;
			continue;
		}
		*at = h->next;
		h->next = go;
		go = h;
	}
	pthread_mutex_unlock(&p->packs->lock);
	for (; go; go = next) {
		next = go->next;
		fill_need(p->packs->fill, &go->need, false);
		free(go);
	}
}

bool lazy_pack_hold(struct lazy_packs *packs, const struct need *need)
{
	struct held *h = NULL;

	pthread_mutex_lock(&packs->lock);
	for (struct lazy_pack *p = packs->first; p && !h; p = p->next) {
		if (!is_expected(p, need))
			continue;
		h = calloc(1, sizeof(*h));
		if (!h)
			break;
		h->need = *need;
		h->next = p->held;
		p->held = h;
	}
	pthread_mutex_unlock(&packs->lock);
	return h != NULL;
}

bool lazy_pack_any(struct lazy_packs *packs)
{
	bool any;

	pthread_mutex_lock(&packs->lock);
	any = packs->first != NULL;
	pthread_mutex_unlock(&packs->lock);
	return any;
}

bool lazy_pack_fills(struct lazy_packs *packs, uint32_t layer_number, bool missed)
{
	int64_t now = clock_ms();
	bool fills = false;

	pthread_mutex_lock(&packs->lock);
	for (struct lazy_pack *p = packs->first; p; p = p->next)
		for (size_t i = 0; i < p->n_targets; i++)
			fills = fills || p->targets[i].number == layer_number;
	for (size_t i = 0; i < RECENT; i++)
		fills = fills || (!missed && packs->recent[i].number == layer_number && packs->recent[i].until > now);
	pthread_mutex_unlock(&packs->lock);
	return fills;
}

static int take_frames(struct lazy_pack *p, uint64_t *have)
{
	_cleanup_(fd_free_memory) uint8_t *packed = malloc(PACK_FRAME_PACKED_MAX), *plain = malloc(PACK_FRAME_SIZE);
	int r = packed && plain ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < pack_n_frames(p->pack); i++) {
		struct pack_frame f;

		pack_frame_get(p->pack, i, &f);
		r = take(p, f.off, f.packed_size, packed, have);
		if (r < 0)
			return r;
		r = pack_frame_open(&f, packed, f.packed_size, plain);
		if (r < 0)
			return fail(-r, "%s sent wrong bytes for a start pack", source_name(p->source));
		r = put_frame(p, &f, plain);
	}
	return r;
}

static int run(void *argument)
{
	struct lazy_pack *p = argument;
	uint64_t have = 0;
	int r = bytes_reserve(&p->head, p->what.head_size);

	if (r == 0)
		r = take(p, 0, p->what.head_size, p->head.data, &have);
	if (r < 0)
		return r;
	p->head.size = p->what.head_size;
	r = open_head(p);
	if (r == 0) {
		pthread_mutex_lock(&p->packs->lock);
		r = expect(p);
		pthread_mutex_unlock(&p->packs->lock);
	}
	if (r == 0) {
		release(p, true);
		r = take_frames(p, &have);
	}
	/* From now on its head alone says whether it is needed again. */
	if (r == 0)
		r = blob_store_put(p->packs->context->store, &p->what.head, p->head.data, p->head.size);
	return r;
}

/* Takes it off the list; readers that it left waiting get their spans. */
static void end(struct lazy_pack *p)
{
	pthread_mutex_lock(&p->packs->lock);
	for (struct lazy_pack **at = &p->packs->first; *at; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	for (size_t i = 0; i < p->n_targets; i++) {
		p->packs->recent[p->packs->n_recent % RECENT].number = p->targets[i].number;
		p->packs->recent[p->packs->n_recent++ % RECENT].until = clock_ms() + RECENT_MS;
	}
	pthread_mutex_unlock(&p->packs->lock);
	release(p, false);
	lazy_pack_drop(&p);
}

static void *run_thread(void *argument)
{
	beside_note("the start pack is left", run, argument);
	end(argument);
	return NULL;
}

void lazy_pack_run(struct lazy_pack **pack, const struct image *image, const struct lazy_artifact *a)
{
	struct lazy_pack *p = *pack;

	if (!p || find_targets(p, image, a) < 0 || p->n_targets == 0) {
		lazy_pack_drop(pack);
		return;
	}
	*pack = NULL;
	pthread_mutex_lock(&p->packs->lock);
	p->next = p->packs->first;
	p->packs->first = p;
	pthread_mutex_unlock(&p->packs->lock);
	if (thread_start_detached(run_thread, p) < 0)
		end(p);
}
