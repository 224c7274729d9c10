/* The files of each touched layer, and what was touched and asked for of them; kept while it is of use. */
#include "fetch/ahead.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/thread.h"
#include "fetch/closure.h"
#include "fetch/gaps.h"
#include "fetch/layer_files.h"
#include "fetch/layer_links.h"
#include "fetch/lazy_pack.h"
#include "fetch/mentions.h"
#include "fetch/read_on.h"
#include "fetch/span_unit.h"

#define TOUCHES 1024u	      /* that wait for the thread; more are dropped */
#define KEEP_SECONDS 20	      /* the tables, after the last touch */

/* Measured on starts of python with numpy: each rule brings five touched bytes for one that is not. */
#define PROGRAM_MAX (8u << 20)	 /* a program is read as a whole, once its beginning was, */
#define LIBRARY_SMALL (1u << 20) /* a library too, */
#define LIBRARY_LARGE (5u << 20) /* or when so many parts of it were touched */
#define LIBRARY_PARTS 3u
#define GAP_PART (256u << 10)	 /* of a larger one follows what lies between two touched places, the farther from each
				    other the more parts were touched, */
#define GAP_SHARE 2u /* but no farther than this part of its segment */
#define DIRECTORY_SMALL (1u << 20) /* all small files of a directory follow the first of them, */
#define DIRECTORY_LARGE (6u << 20) /* or the third */
#define DIRECTORY_FILES 3u
#define LIBRARIES_SHARE 8u /* but libraries, which are looked for by name, only when so large a part was touched */
#define DIRECTORY_MANY 8u /* or this one, when it is a quarter of them: somebody reads them all; */
#define CHILDREN_MANY 16u /* all small directories beside each other follow so many of them */
#define WHOLE_FILES 3u /* a directory of so many files or more that were all touched was read as a whole */
#define BESIDE_MAX (1u << 20) /* a file of more says nothing about those beside it */
#define MENTIONING_MAX (256u << 10) /* in a file of so much is looked for names of what is beside it */
#define UNREAD 64u
#define UNREAD_MS 10000 /* how long its bytes are waited for, */
#define UNREAD_AGAIN_MS 3 /* with a look so often */
#define REST_AGAIN_MS 10 /* how often is looked whether there is room for more of a layer that is read as a whole, */
#define REST_MS 2000 /* so long after the last touch */

struct table { /* of a layer */
	struct table *next;
	struct layer_store *layer; /* a reference while it is looked at: one that was removed must not be kept by us */
	uint32_t number;
	struct layer_files files;
	uint8_t *marks; /* of gaps_touch() */
	size_t n_marks;
	struct read_on read_on;
};

struct unread { /* a touched file that may mention others, once its bytes are here */
	uint32_t number; /* its layer's */
	uint64_t off, size;
	int64_t until; /* clock_ms() */
};

struct ahead {
	struct context *context;
	struct fill *fill;
	struct table *tables; /* the thread's alone */
	unsigned int evicted; /* the same: the context's n_evicted when they were begun */
	int64_t touched_last; /* the same: clock_ms() */
	struct unread unread[UNREAD]; /* the same */
	size_t n_unread;
	uint8_t text[MENTIONING_MAX]; /* the same: of one of them */
	struct mentions mentions;
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t more; /* by the monotonic clock */
	struct need touches[TOUCHES]; /* a ring */
	unsigned int first, n;
	bool started;
};

static void table_free(struct table **table)
{
	struct table *t = *table;

	if (!t)
		return;
	layer_files_free(&t->files);
	free(t->marks);
	free(t);
	*table = NULL;
}

/* One that cannot be made stays empty, so that it is tried once. */
static struct table *table_of(struct ahead *a, uint32_t number, struct layer_store *layer)
{
	struct table *t;

	for (t = a->tables; t; t = t->next)
		if (t->number == number)
			return t;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->layer = layer;
	t->number = number;
	if (layer_files_read(layer_store_index(layer), &t->files) < 0)
		layer_files_free(&t->files);
	t->next = a->tables;
	a->tables = t;
	return t;
}

/* The spans [*ret_first, *ret_end) have the file's bytes. */
static int spans_of(const struct span_table *spans, const struct layer_file *f, size_t *ret_first, size_t *ret_end)
{
	if (span_table_at(spans, f->off, ret_first) < 0)
		return -ENODATA;
	if (span_table_at(spans, f->off + f->size - 1, ret_end) < 0)
		*ret_end = span_table_count(spans) - 1;
	(*ret_end)++;
	return 0;
}

static bool read_head(const struct table *t, const struct layer_file *f, struct elf_head *ret)
{
	return (f->program || f->library) && layer_links_head(t->layer, f->off, f->size, ret);
}

/* Of a program or library the segment that has the byte: code, constants and data each are touched in a way of their own,
 * and what is only read when something is thrown, not at all. */
static struct layer_file segment_of(const struct table *t, const struct layer_file *f, uint64_t off)
{
	struct elf_head h;

	if (!read_head(t, f, &h))
		return *f;
	off -= f->off;
	for (size_t i = 0; i < h.n_loads; i++) {
		uint64_t from = h.loads[i].off, size = h.loads[i].size;

		if (from > f->size || size > f->size - from || off < from || off - from >= size)
			continue;
		if (h.unwind.size && h.unwind.off >= from && h.unwind.off < from + size)
			size = h.unwind.off - from;
		return (struct layer_file){.off = f->off + from, .size = off - from < size ? size : 0};
	}
	return *f;
}

static void ask_range(struct ahead *a, const struct table *t, uint64_t off, uint64_t size)
{
	const struct layer_file range = {.off = off, .size = size};
	size_t first, end;

	if (size > 0 && spans_of(layer_store_spans(t->layer), &range, &first, &end) == 0)
		fill_ahead(a->fill, t->layer, t->number, first, end - first);
}

/* Bytes [from, to) of the file, those from `first` on first. */
static void ask_part(struct ahead *a, const struct table *t, const struct layer_file *f, uint64_t from, uint64_t to, uint64_t first)
{
	if (first <= from || first >= to)
		first = from;
	ask_range(a, t, f->off + first, to - first);
	ask_range(a, t, f->off + from, first - from);
}

/* `first`: the byte of the layer file that was touched. What is read only when something is thrown is not asked for. */
static void ask_file_from(struct ahead *a, const struct table *t, struct layer_file *f, uint64_t first)
{
	struct elf_range used[2] = {{0, f->size}};
	struct elf_head h;

	if (f->asked)
		return;
	f->asked = true;
	if (read_head(t, f, &h))
		elf_used(&h, f->size, used);
	for (size_t i = 0; i < 2; i++)
		ask_part(a, t, f, used[i].off, used[i].off + used[i].size, first - f->off);
}

static void ask_file(struct ahead *a, const struct table *t, struct layer_file *f)
{
	ask_file_from(a, t, f, f->off);
}

/* Its small files. Those behind the touched one first: programs read on rather than back. */
static void ask_directory(struct ahead *a, const struct table *t, const struct layer_file *touched)
{
	size_t n = layer_files_count(&t->files), from = (size_t)(touched - layer_files_at(&t->files, 0));
	const struct layer_directory *d = layer_files_directory(&t->files, touched->directory);
	bool libraries = d->size <= DIRECTORY_SMALL || d->n_touched * LIBRARIES_SHARE >= d->n_files;

	for (size_t k = 0; k < n; k++) {
		struct layer_file *f = layer_files_at(&t->files, (from + k) % n);

		if (f->directory == touched->directory && f->size <= BESIDE_MAX && (!f->library || libraries))
			ask_file(a, t, f);
	}
}

static unsigned int n_parts(const struct layer_file *f)
{
	return (unsigned int)__builtin_popcount(f->parts);
}

static bool is_wanted_whole(const struct layer_file *f, uint64_t off)
{
	if (f->program)
		return off == f->off && f->size <= PROGRAM_MAX;
	return f->library && f->size <= (n_parts(f) < LIBRARY_PARTS ? LIBRARY_SMALL : LIBRARY_LARGE);
}

static bool is_followed(const struct layer_directory *d)
{
	if (d->size <= (d->n_touched < DIRECTORY_FILES ? DIRECTORY_SMALL : DIRECTORY_LARGE))
		return true;
	return d->n_touched >= DIRECTORY_MANY && d->n_touched >= d->n_files / 4;
}

/* The first touch of a directory may be one of many beside each other. */
static void look_at_children(struct ahead *a, const struct table *t, uint32_t directory)
{
	uint32_t parent = layer_files_directory(&t->files, directory)->parent;
	struct layer_directory *p = layer_files_directory(&t->files, parent);

	if (++p->n_children < CHILDREN_MANY || p->children_asked)
		return;
	p->children_asked = true;
	for (size_t i = 0; i < layer_files_count(&t->files); i++) {
		const struct layer_directory *d = layer_files_directory(&t->files, layer_files_at(&t->files, i)->directory);

		if (d->parent == parent && d->size <= DIRECTORY_SMALL)
			ask_file(a, t, layer_files_at(&t->files, i));
	}
}

/* Of a large file; of data only what is read on: what lies between two places that were looked up may never be. */
static void fill_gaps(struct ahead *a, struct table *t, const struct layer_file *f, uint64_t off)
{
	const struct span_table *spans = layer_store_spans(t->layer);
	struct gap gaps[GAP_KINDS];
	struct layer_file where;
	size_t first, end, at;
	uint64_t reach = 0;

	if (!t->marks) {
		t->n_marks = span_table_count(spans);
		t->marks = calloc(t->n_marks, 1);
	}
	if (!t->marks || t->n_marks != span_table_count(spans))
		return;
	where = segment_of(t, f, off);
	if (where.size == 0 || spans_of(spans, &where, &first, &end) < 0 || span_table_at(spans, off, &at) < 0 || at < first || at >= end)
		return;
	if (f->program || f->library)
		reach = n_parts(f) * GAP_PART < where.size / GAP_SHARE ? n_parts(f) * GAP_PART : where.size / GAP_SHARE;
	gaps_touch(t->marks, spans, at, first, end, reach, gaps);
	for (size_t i = 0; i < GAP_KINDS; i++)
		fill_ahead(a->fill, t->layer, t->number, gaps[i].first, gaps[i].n);
}

/* Of a file in P/D, a library name.so of P/D, of P or of another directory of P. */
static bool is_library_mentioned(const struct table *t, uint32_t own, const struct layer_file *f, const struct mentions *m)
{
	const uint32_t parent = layer_files_directory(&t->files, own)->parent;

	return f->library && f->size <= BESIDE_MAX &&
	       (f->directory == own || f->directory == parent || layer_files_directory(&t->files, f->directory)->parent == parent) &&
	       mentions_has(m, f->stem);
}

/* Of a file in P/D: P/D/name.*, all in P/name/D, all in P/D/name. */
static bool is_mentioned(const struct table *t, uint32_t own, uint32_t directory, const struct mentions *m)
{
	const struct layer_directory *o = layer_files_directory(&t->files, own);
	const struct layer_directory *d = layer_files_directory(&t->files, directory);
	const struct layer_directory *p = layer_files_directory(&t->files, d->parent);

	if (directory == own || d->size > DIRECTORY_SMALL)
		return false;
	return (d->parent == own && mentions_has(m, d->name)) ||
	       (d->name == o->name && p->parent == o->parent && d->parent != o->parent && mentions_has(m, p->name));
}

static void follow_mentions(struct ahead *a, const struct table *t, const struct layer_file *f, const struct mentions *m)
{
	for (uint32_t i = 0; i < layer_files_n_directories(&t->files); i++)
		layer_files_directory(&t->files, i)->mentioned = is_mentioned(t, f->directory, i, m);
	for (size_t i = 0; i < layer_files_count(&t->files); i++) {
		struct layer_file *other = layer_files_at(&t->files, i);
		bool beside = other->directory == f->directory && !other->library && other->size <= BESIDE_MAX;

		if (layer_files_directory(&t->files, other->directory)->mentioned || (beside && mentions_has(m, other->stem)) ||
		    is_library_mentioned(t, f->directory, other, m))
			ask_file(a, t, other);
	}
}

static void remember_unread(struct ahead *a, const struct table *t, const struct layer_file *f)
{
	if (read_on_reads_all(&t->read_on))
		return; /* all of it comes */
	if (f->size <= MENTIONING_MAX && !f->library && !f->program && a->n_unread < UNREAD)
		a->unread[a->n_unread++] = (struct unread){t->number, f->off, f->size, clock_ms() + UNREAD_MS};
}

static void look_at_file(struct ahead *a, struct table *t, struct layer_file *f, uint64_t off)
{
	struct layer_directory *d = layer_files_directory(&t->files, f->directory);
	bool first = d->n_touched == 0;

	f->parts |= UINT32_C(1) << off / GAP_PART % 32;
	if ((f->program || f->library) && off == f->off && !f->touched)
		closure_begin(a->context, a->fill, t->number, f->off, f->size, f->library);
	if (!f->touched)
		remember_unread(a, t, f);
	if (!f->touched && ++d->n_touched == d->n_files && d->n_files >= WHOLE_FILES)
		read_on_whole(&t->read_on, t->layer, off);
	f->touched = true;
	if (is_wanted_whole(f, off))
		ask_file_from(a, t, f, off);
	else if (f->size > BESIDE_MAX && !f->asked)
		fill_gaps(a, t, f, off);
	if (f->size <= BESIDE_MAX && !d->asked && is_followed(d)) {
		d->asked = true;
		ask_directory(a, t, f);
	}
	if (first)
		look_at_children(a, t, f->directory);
}

static void forget_tables(struct ahead *a)
{
	for (struct table *t = a->tables, *next; t; t = next) {
		next = t->next;
		table_free(&t);
	}
	a->tables = NULL;
}

static int open_layer(const struct ahead *a, uint32_t number, struct layer_store **ret)
{
	const char *key;
	int r = number_table_layer(a->context->numbers, number, &key);

	return r < 0 ? r : layer_table_get(a->context->layers, key, ret);
}

/* Whether it is read, or will not be. */
static bool read_mentions(struct ahead *a, const struct unread *u)
{
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;
	struct layer_file *f;
	struct table *t;
	int r;

	if (open_layer(a, u->number, &layer) < 0)
		return true;
	r = layer_store_read(layer, a->text, (size_t)u->size, u->off);
	if (r < 0)
		return r != -EAGAIN || clock_ms() > u->until;
	t = table_of(a, u->number, layer);
	f = t ? layer_files_find(&t->files, u->off) : NULL;
	if (!f)
		return true;
	t->layer = layer;
	mentions_read(a->text, (size_t)u->size, &a->mentions);
	follow_mentions(a, t, f, &a->mentions);
	t->layer = NULL;
	return true;
}

static void read_unread(struct ahead *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n_unread; i++)
		if (!read_mentions(a, &a->unread[i]))
			a->unread[n++] = a->unread[i];
	a->n_unread = n;
}

static void look(struct ahead *a, const struct need *n)
{
	const unsigned int evicted = atomic_load(&a->context->n_evicted);
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;
	uint64_t off = n->first_page * LAYER_PAGE + n->in_page % LAYER_PAGE;
	struct table *t;
	struct layer_file *f;

	if (open_layer(a, n->number, &layer) < 0 || off >= layer_store_size(layer))
		return;
	if (evicted != a->evicted) { /* what was asked for may be missing again */
		forget_tables(a);
		a->evicted = evicted;
	}
	t = table_of(a, n->number, layer);
	if (!t)
		return;
	t->layer = layer;
	f = layer_files_find(&t->files, off);
	if (f)
		look_at_file(a, t, f, off);
	read_on_touch(&t->read_on, a->fill, layer, t->number, f, off, f && f->size > BESIDE_MAX);
	read_on_rest(&t->read_on, a->fill, layer, t->number);
	t->layer = NULL;
}

/* Who waits for a large file touches nothing; what lies behind it follows all the same. Not beside a pack, as for touches. */
static void ask_rests(struct ahead *a)
{
	const bool forgotten = clock_ms() >= a->touched_last + REST_MS;

	for (struct table *t = a->tables; t && !forgotten; t = t->next) {
		_cleanup_(layer_store_free) struct layer_store *layer = NULL;

		if (t->read_on.n_rest > 0 && !lazy_pack_fills(a->context->packs, t->number, false) &&
		    open_layer(a, t->number, &layer) == 0)
			read_on_rest(&t->read_on, a->fill, layer, t->number);
	}
}

/* When it is time to look at something without a touch. 0: never. */
static int64_t look_again(const struct ahead *a)
{
	const int64_t now = clock_ms();

	if (a->n_unread)
		return now + UNREAD_AGAIN_MS;
	for (const struct table *t = a->tables; t && now < a->touched_last + REST_MS; t = t->next)
		if (t->read_on.n_rest > 0)
			return now + REST_AGAIN_MS;
	return 0;
}

/* Waits for a touch, or until it is time to look at something; after KEEP_SECONDS without a touch the tables go. The
 * lock is held. */
static void wait_for_touch(struct ahead *a)
{
	while (a->n == 0) {
		const int64_t again = look_again(a);
		struct timespec until = {again / 1000, again % 1000 * 1000000};

		if (again) {
			pthread_cond_timedwait(&a->more, &a->lock, &until);
			return;
		}
		if (!a->tables) {
			pthread_cond_wait(&a->more, &a->lock);
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += KEEP_SECONDS;
		if (pthread_cond_timedwait(&a->more, &a->lock, &until) == ETIMEDOUT && a->n == 0)
			forget_tables(a);
	}
}

static void *look_thread(void *argument)
{
	struct ahead *a = argument;

	for (;;) {
		struct need n;
		bool touched;

		pthread_mutex_lock(&a->lock);
		wait_for_touch(a);
		touched = a->n > 0;
		if (touched) {
			n = a->touches[a->first];
			a->first = (a->first + 1) % TOUCHES;
			a->n--;
			a->touched_last = clock_ms();
		}
		pthread_mutex_unlock(&a->lock);
		if (touched)
			look(a, &n);
		else
			ask_rests(a);
		read_unread(a);
	}
	return NULL;
}

int ahead_new(struct context *c, struct fill *fill, struct ahead **ret)
{
	struct ahead *a = calloc(1, sizeof(*a));
	pthread_condattr_t monotonic;

	if (!a)
		return -ENOMEM;
	a->context = c;
	a->fill = fill;
	pthread_mutex_init(&a->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&a->more, &monotonic);
	*ret = a;
	return 0;
}

void ahead_touch(struct ahead *a, const struct need *touched)
{
	if (touched->first_page > UINT64_MAX / LAYER_PAGE / 2)
		return;
	pthread_mutex_lock(&a->lock);
	if (!a->started)
		a->started = thread_start_detached(look_thread, a) == 0;
	if (a->n < TOUCHES) {
		a->touches[(a->first + a->n++) % TOUCHES] = *touched;
		pthread_cond_signal(&a->more);
	}
	pthread_mutex_unlock(&a->lock);
}
