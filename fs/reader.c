/* The list of parked reads, and the packets that ask for their pages. */
#include "fs/reader.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "fs/readahead.h"

#define ASK_AGAIN_MS 5000 /* packets may be lost with a process; each only means "look again" */
#define TOUCHED_SLOTS 4096u
#define TOUCHED_PART_SHIFT 16 /* parts of a large file that are told one by one */
#define TOUCHED_MS 10000      /* so long after a read that missed something the fetcher hears what is read */
#define SAY_AGAIN_MS 10000
#define FULL_MS 20	  /* the fetcher's socket had no room */

struct parked {
	struct parked *next;
	struct reader *reader;
	fuse_req_t request;
	struct image_view_layer *layer;
	uint64_t off;
	size_t size;
	struct need ask;
	int64_t asked; /* clock_ms(); 0: not yet */
	bool interrupted;
};

struct reader {
	int need_fd, event_fd;
	atomic_uint *n_parked;
	bool first; /* of the mount: all that was refused is marked */
	atomic_int record_fd; /* -1: none yet */
	atomic_bool recording;
	atomic_bool ending;
	_Atomic int64_t said; /* clock_ms() when the log last heard of a layer that cannot be read */
	pthread_mutex_t lock; /* guards the list, `interrupted` of what was parked, and what is below it */
	struct parked *list;
	int64_t last_parked;
	bool watched; /* the need thread wakes up by itself and asks again */
	_Atomic uint64_t told[TOUCHED_SLOTS]; /* what NEED_TOUCHED was sent for; one of two that share a slot is sent again */
};

int reader_new(int need_fd, atomic_uint *n_parked, bool first, struct reader **ret)
{
	struct reader *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->need_fd = need_fd;
	r->record_fd = -1;
	r->n_parked = n_parked;
	r->first = first;
	atomic_store(n_parked, 0); /* what a dead server had counted */
	pthread_mutex_init(&r->lock, NULL);
	r->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->event_fd < 0) {
		free(r);
		return fail(errno, "eventfd cannot be made");
	}
	*ret = r;
	return 0;
}

void reader_free(struct reader **reader)
{
	struct reader *r = *reader;

	if (!r)
		return;
	fd_close(&r->event_fd);
	pthread_mutex_destroy(&r->lock);
	free(r);
	*reader = NULL;
}

int reader_event_fd(const struct reader *r)
{
	return r->event_fd;
}

static void wake(const struct reader *r)
{
	eventfd_write(r->event_fd, 1);
}

/* False: no room now. A fetcher that is gone is no error: the next one is asked again. */
static bool ask(const struct reader *r, const struct need *n)
{
	return send(r->need_fd, n, sizeof(*n), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

/* Called by libfuse with the request's lock held, so it must not answer: that would free the lock. */
static void interrupted(fuse_req_t request, void *data)
{
	struct parked *p = data;

	(void)request;
	pthread_mutex_lock(&p->reader->lock);
	p->interrupted = true;
	pthread_mutex_unlock(&p->reader->lock);
	wake(p->reader);
}

static void push(struct reader *r, struct parked *p)
{
	bool unseen;

	pthread_mutex_lock(&r->lock);
	p->next = r->list;
	r->list = p;
	unseen = p->interrupted /* the first wake found it off the list */ || !r->watched;
	r->watched = true;
	r->last_parked = clock_ms();
	pthread_mutex_unlock(&r->lock);
	if (unseen)
		wake(r);
}

/* 0, or the errno for the reader. */
static int answer_code(int r)
{
	return r == -ENOMEM || r == -EINTR || r == -ENOSPC ? -r : EIO;
}

/* Who reads is told EIO, or dies of SIGBUS, and cannot say more. Not each time: a broken disk would fill the log. */
static void say_unreadable(struct reader *r, const struct image_view_layer *layer, int err)
{
	int64_t now = clock_ms(), last = atomic_load(&r->said);

	if ((last == 0 || now - last > SAY_AGAIN_MS) && atomic_compare_exchange_strong(&r->said, &last, now))
		report_note("layer %s in the store cannot be read: %s", layer_store_key(layer->store), strerror(-err));
}

/* Trims a range to its missing pages: neighbours that are here need no fetching. */
static struct need missing(const struct image_view_layer *l, uint64_t off, size_t size)
{
	uint64_t first = off / LAYER_PAGE, last = (off + size - 1) / LAYER_PAGE;

	while (first < last && layer_store_present(l->store, first * LAYER_PAGE, 1))
		first++;
	while (last > first && layer_store_present(l->store, last * LAYER_PAGE, 1))
		last--;
	return (struct need){
		.kind = NEED_PAGES, .number = l->number, .first_page = first, .n_pages = last - first + 1};
}

/* From the moment it is in the list, the need thread may answer and free it. */
static void park(struct reader *r, struct parked *p)
{
	struct need n = p->ask;

	atomic_fetch_add(r->n_parked, 1);
	fuse_req_interrupt_func(p->request, interrupted, p); /* calls it at once when it is too late */
	p->asked = clock_ms();
	push(r, p);
	if (ask(r, &n))
		return;
	pthread_mutex_lock(&r->lock);
	for (struct parked *at = r->list; at; at = at->next)
		if (at->ask.number == n.number && at->ask.first_page == n.first_page)
			at->asked = 0;
	pthread_mutex_unlock(&r->lock);
	wake(r);
}

/* The descriptor's number stays once made: a worker may be writing to it. */
void reader_record(struct reader *r, int fd)
{
	int old = atomic_load(&r->record_fd);

	atomic_store(&r->recording, fd >= 0);
	if (fd < 0)
		return;
	if (old < 0) {
		atomic_store(&r->record_fd, fd);
		return;
	}
	if (dup2(fd, old) < 0)
		atomic_store(&r->recording, false);
	fd_close(&fd);
}

/* A write of its own for each, so that a server that dies loses nothing and files are never torn. */
static void record(struct reader *r, const struct image_view_layer *layer, uint64_t off, size_t size)
{
	struct need_touched t = {.number = layer->number, .first_page = off / LAYER_PAGE};
	int fd;

	if (!atomic_load(&r->recording) || size == 0)
		return;
	t.n_pages = (uint32_t)((off + size - 1) / LAYER_PAGE - t.first_page + 1);
	fd = atomic_load(&r->record_fd);
	if (write(fd, &t, sizeof(t)) < 0)
		report_note("a read cannot be recorded: %s", strerror(errno));
	else if (lseek(fd, 0, SEEK_CUR) > LIMIT_TOUCHED_SIZE) /* one above it: the fetcher sees that it is too much */
		atomic_store(&r->recording, false);
}

/* The fetcher guesses from it what comes next. Only where something was missing lately: elsewhere it costs nothing. */
static void tell_touched(struct reader *r, struct image_view_layer *layer, uint64_t file_off, uint64_t off, size_t size, bool missed)
{
	int64_t last = missed ? 0 : atomic_load_explicit(&layer->missed, memory_order_relaxed);
	uint64_t what = (file_off ^ (off >> TOUCHED_PART_SHIFT << 44) ^ ((uint64_t)layer->number << 32)) * UINT64_C(0x9e3779b97f4a7c15) | 1;
	_Atomic uint64_t *slot = &r->told[what >> 52];
	struct need n = {.kind = NEED_TOUCHED,
			 .number = layer->number,
			 .error = missed,
			 .first_page = off / LAYER_PAGE,
			 .n_pages = (off + size - 1) / LAYER_PAGE - off / LAYER_PAGE + 1,
			 .in_page = (uint32_t)(off % LAYER_PAGE)};

	if (missed) {
		atomic_store_explicit(&layer->missed, clock_ms(), memory_order_relaxed);
	} else if (last == 0) {
		return;
	} else if (clock_ms() - last > TOUCHED_MS) {
		atomic_store_explicit(&layer->missed, 0, memory_order_relaxed);
		return;
	}
	if (atomic_exchange_explicit(slot, what, memory_order_relaxed) != what)
		ask(r, &n);
}

void reader_forget_touched(struct reader *r)
{
	for (size_t i = 0; i < TOUCHED_SLOTS; i++)
		atomic_store_explicit(&r->told[i], 0, memory_order_relaxed);
}

bool reader_refuses(struct reader *r, struct image_view_layer *layer, uint64_t off, size_t size)
{
	if (!r->first || (!atomic_load(&r->recording) && layer_store_present(layer->store, off, size)))
		return false;
	return readahead_refuse(layer, off, size);
}

void reader_read(struct reader *r, fuse_req_t request, struct image_view_layer *layer, uint64_t file_off, uint64_t off, size_t size)
{
	uint8_t data[READER_SIZE_MAX];
	struct parked *p;
	int err;

	record(r, layer, off, size);
	err = size > sizeof(data) ? -EIO : layer_store_read(layer->store, data, size, off);
	if (err == 0) {
		fuse_reply_buf(request, (const char *)data, size);
		tell_touched(r, layer, file_off, off, size, false);
	} else if (err != -EAGAIN) {
		say_unreadable(r, layer, err);
		fuse_reply_err(request, answer_code(err));
	} else if (atomic_load(&r->ending)) {
		fuse_reply_err(request, EIO);
	} else if (!(p = calloc(1, sizeof(*p)))) {
		fuse_reply_err(request, ENOMEM);
	} else {
		*p = (struct parked){.reader = r,
				     .request = request,
				     .layer = layer,
				     .off = off,
				     .size = size,
				     .ask = missing(layer, off, size)};
		layer = image_view_layer_again(layer);
		park(r, p);
		tell_touched(r, layer, file_off, off, size, true); /* behind what the reader waits for */
	}
	image_view_layer_close(&layer);
}

/* The need thread has taken it off the list. Once the function is gone, no callback runs any more. */
static void end_parked(struct reader *r, struct parked *p, int err, const void *data)
{
	fuse_req_interrupt_func(p->request, NULL, NULL);
	if (err)
		fuse_reply_err(p->request, err);
	else
		fuse_reply_buf(p->request, data, p->size);
	image_view_layer_close(&p->layer);
	free(p);
	atomic_fetch_sub(r->n_parked, 1);
}

static bool overlaps(const struct parked *p, const struct need *n)
{
	uint64_t first = p->off / LAYER_PAGE, last = (p->off + p->size - 1) / LAYER_PAGE;

	return p->layer->number == n->number && n->n_pages > 0 && first <= n->first_page + (n->n_pages - 1) &&
	       n->first_page <= last;
}

static bool is_about(const struct need *n, const struct parked *p)
{
	if (!n)
		return p->interrupted;
	return n->kind == NEED_GIVE_UP || overlaps(p, n);
}

/* Takes off the list what a packet is about; with NULL what was interrupted. */
static struct parked *take(struct reader *r, const struct need *n)
{
	struct parked *taken = NULL;

	pthread_mutex_lock(&r->lock);
	for (struct parked **at = &r->list; *at;) {
		struct parked *p = *at;

		if (is_about(n, p)) {
			*at = p->next;
			p->next = taken;
			taken = p;
		} else {
			at = &p->next;
		}
	}
	pthread_mutex_unlock(&r->lock);
	return taken;
}

/* Looks again: all there, partly there (it goes on waiting), or broken. */
static void try_again(struct reader *r, struct parked *p)
{
	uint8_t data[READER_SIZE_MAX];
	int err = layer_store_read(p->layer->store, data, p->size, p->off);

	if (err < 0 && err != -EAGAIN)
		say_unreadable(r, p->layer, err);
	if (err != -EAGAIN) {
		end_parked(r, p, err < 0 ? answer_code(err) : 0, data);
		return;
	}
	/* Some of it is still on its way, or was evicted meanwhile: to ask twice costs nothing. */
	p->ask = missing(p->layer, p->off, p->size);
	p->asked = ask(r, &p->ask) ? clock_ms() : 0;
	push(r, p);
}

static void forget_asked(struct reader *r)
{
	pthread_mutex_lock(&r->lock);
	for (struct parked *p = r->list; p; p = p->next)
		p->asked = 0;
	pthread_mutex_unlock(&r->lock);
}

void reader_need(struct reader *r, const struct need *n)
{
	struct parked *p, *next;

	if (n->kind == NEED_RESTART) {
		forget_asked(r);
		return;
	}
	if (n->kind != NEED_DONE && n->kind != NEED_FAILED && n->kind != NEED_GIVE_UP)
		return;
	for (p = take(r, n); p; p = next) {
		next = p->next;
		if (n->kind == NEED_DONE)
			try_again(r, p);
		else
			end_parked(r, p, n->error > 0 && n->error < 4096 ? answer_code(-(int)n->error) : EIO, NULL);
	}
}

void reader_end(struct reader *r)
{
	atomic_store(&r->ending, true);
}

static int ask_again(struct reader *r)
{
	int64_t now = clock_ms();
	int wait;

	pthread_mutex_lock(&r->lock);
	/* A while longer than the list has something, or each read that parks would have to wake us. */
	r->watched = r->list || now - r->last_parked < ASK_AGAIN_MS;
	wait = r->watched ? ASK_AGAIN_MS : -1;
	for (struct parked *p = r->list; p; p = p->next) {
		if (p->asked && now - p->asked < ASK_AGAIN_MS)
			continue;
		if (!ask(r, &p->ask)) { /* it does not wait, so the lock may be held */
			wait = FULL_MS;
			break;
		}
		p->asked = now;
	}
	pthread_mutex_unlock(&r->lock);
	return wait;
}

int reader_tick(struct reader *r)
{
	struct parked *p, *next;
	eventfd_t count;

	eventfd_read(r->event_fd, &count);
	for (p = take(r, NULL); p; p = next) {
		next = p->next;
		end_parked(r, p, EINTR, NULL);
	}
	return ask_again(r);
}
