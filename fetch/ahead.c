/* A table of each touched layer's files, by where they lie, and of their directories; kept while it is of use. */
#include "fetch/ahead.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/thread.h"
#include "fetch/closure.h"
#include "fetch/gaps.h"
#include "fetch/span_unit.h"

#define TOUCHES 1024u	      /* that wait for the thread; more are dropped */
#define KEEP_SECONDS 20	      /* the tables, after the last touch */
#define FILES_MAX (512u << 10) /* a layer of more is not looked into */

/* Measured on starts of python with numpy: each rule brings five touched bytes for one that is not. */
#define PROGRAM_MAX (8u << 20)	 /* a program is read as a whole, once its beginning was, */
#define LIBRARY_SMALL (1u << 20) /* a library too, */
#define LIBRARY_LARGE (5u << 20) /* or when so many parts of it were touched */
#define LIBRARY_PARTS 5u
#define GAP_PART (256u << 10)	 /* of a larger one follows what lies between two touched places, the farther from each
				    other the more parts were touched, */
#define GAP_PARTS 10u		 /* at most so many */
#define DIRECTORY_SMALL (1u << 20) /* all small files of a directory follow the first of them, */
#define DIRECTORY_LARGE (6u << 20) /* or the third */
#define DIRECTORY_FILES 3u
#define DIRECTORY_MANY 8u /* or this one, when it is a quarter of them: somebody reads them all; */
#define CHILDREN_MANY 16u /* all small directories beside each other follow so many of them */
#define WHOLE_FILES 3u /* a directory of so many files or more that were all touched was read as a whole; */
#define WHOLE_MANY 6u  /* after so many of them somebody reads everything: the rest of the layer follows */
#define BESIDE_MAX (1u << 20) /* a file of more says nothing about those beside it */
#define RUN_MIN 4u	      /* steps from one unit of spans to the next that make it a run, */
#define REST_SPANS 8u	      /* of the rest of a layer that are asked for at once */
#define RUN_AHEAD 16u	      /* which is kept as many units ahead as it is long, at most so many */

struct file {
	uint64_t off, size;
	uint32_t directory;
	uint16_t parts; /* touched */
	bool program, library, touched, asked;
};

struct directory {
	uint64_t size; /* of its files */
	uint32_t parent; /* the root's is itself */
	uint32_t n_files, n_touched;
	uint32_t n_children; /* directories in it of which files were touched */
	bool asked, children_asked;
};

struct table { /* of a layer */
	struct table *next;
	struct layer_store *layer; /* a reference while it is looked at: one that was removed must not be kept by us */
	uint32_t number;
	struct bytes files, directories;
	uint8_t *marks; /* of gaps_touch() */
	size_t n_marks;
	/* Spans read one after the other: */
	size_t first, end; /* the unit that was touched last */
	size_t asked_to;
	unsigned int run;
	unsigned int n_whole; /* directories */
	size_t rest, n_rest; /* spans from here on, around the end, that are still to be asked for */
};

struct ahead {
	struct context *context;
	struct fill *fill;
	struct table *tables; /* the thread's alone */
	unsigned int evicted; /* the same: the context's n_evicted when they were begun */
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t more; /* by the monotonic clock */
	struct need touches[TOUCHES]; /* a ring */
	unsigned int first, n;
	bool started;
};

static struct file *file_at(const struct table *t, size_t i)
{
	return (struct file *)(void *)t->files.data + i;
}

static struct directory *directory_at(const struct table *t, size_t i)
{
	return (struct directory *)(void *)t->directories.data + i;
}

static size_t n_files(const struct table *t)
{
	return t->files.size / sizeof(struct file);
}

static void table_free(struct table **table)
{
	struct table *t = *table;

	if (!t)
		return;
	bytes_free(&t->files);
	bytes_free(&t->directories);
	free(t->marks);
	free(t);
	*table = NULL;
}

struct level { /* a directory that is still to be walked */
	uint32_t nid, directory;
};

static bool is_dots(const struct erofs_entry *e)
{
	return e->name_size <= 2 && memcmp(e->name, "..", e->name_size) == 0;
}

static int add_file(struct table *t, uint32_t directory, const struct erofs_entry *e, const struct erofs_inode *inode)
{
	struct file f = {.off = inode->data_off, .size = inode->size, .directory = directory};

	if (f.size == 0)
		return 0;
	if (n_files(t) == FILES_MAX)
		return -EFBIG;
	f.library = memmem(e->name, e->name_size, ".so", 3);
	f.program = inode->mode & 0111 && !f.library;
	directory_at(t, directory)->size += f.size;
	directory_at(t, directory)->n_files++;
	return bytes_append(&t->files, &f, sizeof(f));
}

static int walk_directory(struct table *t, const struct level *at, struct bytes *stack)
{
	const struct erofs_read *index = layer_store_index(t->layer);
	struct erofs_inode dir, inode;
	struct erofs_entry e;
	uint64_t cookie = 0;
	int r = erofs_read_inode(index, at->nid, &dir);

	while (r == 0 && (r = erofs_read_entry(index, &dir, &cookie, &e)) > 0) {
		struct level below = {.nid = e.nid, .directory = (uint32_t)(t->directories.size / sizeof(struct directory))};

		r = 0;
		if (e.type == DT_REG) {
			r = erofs_read_inode(index, e.nid, &inode);
			if (r == 0)
				r = add_file(t, at->directory, &e, &inode);
		} else if (e.type == DT_DIR && !is_dots(&e)) {
			r = bytes_append(stack, &below, sizeof(below));
			if (r == 0)
				r = bytes_append(&t->directories, &(struct directory){.parent = at->directory},
						 sizeof(struct directory));
		}
	}
	return r;
}

static int by_place(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* `left` ends it should a damaged index have directories in a circle. */
static int walk(struct table *t)
{
	const struct erofs_read *index = layer_store_index(t->layer);
	_cleanup_(bytes_free) struct bytes stack = {0};
	uint64_t left = index->n_inodes + 1;
	struct level at = {.nid = index->root_nid};
	int r = bytes_append(&t->directories, &(struct directory){0}, sizeof(struct directory));

	if (r == 0)
		r = bytes_append(&stack, &at, sizeof(at));
	while (r == 0 && stack.size > 0 && left-- > 0) {
		stack.size -= sizeof(at);
		memcpy(&at, stack.data + stack.size, sizeof(at));
		r = walk_directory(t, &at, &stack);
	}
	if (n_files(t) > 1)
		qsort(t->files.data, n_files(t), sizeof(struct file), by_place);
	return r;
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
	t->first = t->end = SIZE_MAX;
	if (walk(t) < 0) {
		bytes_free(&t->files);
		bytes_free(&t->directories);
	}
	t->next = a->tables;
	a->tables = t;
	return t;
}

/* Of several names of the same body any one. */
static struct file *find_file(const struct table *t, uint64_t off)
{
	size_t low = 0, high = n_files(t);

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (file_at(t, middle)->off <= off)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && off - file_at(t, low - 1)->off < file_at(t, low - 1)->size ? file_at(t, low - 1) : NULL;
}

/* The spans [*ret_first, *ret_end) have the file's bytes. */
static int spans_of(const struct span_table *spans, const struct file *f, size_t *ret_first, size_t *ret_end)
{
	if (span_table_at(spans, f->off, ret_first) < 0)
		return -ENODATA;
	if (span_table_at(spans, f->off + f->size - 1, ret_end) < 0)
		*ret_end = span_table_count(spans) - 1;
	(*ret_end)++;
	return 0;
}

static void ask_file(struct ahead *a, const struct table *t, struct file *f)
{
	size_t first, end;

	if (f->asked)
		return;
	f->asked = true;
	if (spans_of(layer_store_spans(t->layer), f, &first, &end) == 0)
		fill_ahead(a->fill, t->layer, t->number, first, end - first);
}

/* Its small files. Those behind the touched one first: programs read on rather than back. */
static void ask_directory(struct ahead *a, const struct table *t, const struct file *touched)
{
	size_t n = n_files(t), from = (size_t)(touched - file_at(t, 0));

	for (size_t k = 0; k < n; k++) {
		struct file *f = file_at(t, (from + k) % n);

		if (f->directory == touched->directory && f->size <= BESIDE_MAX)
			ask_file(a, t, f);
	}
}

static bool is_wanted_whole(const struct file *f, uint64_t off)
{
	if (f->program)
		return off == f->off && f->size <= PROGRAM_MAX;
	return f->library && f->size <= (f->parts < LIBRARY_PARTS ? LIBRARY_SMALL : LIBRARY_LARGE);
}

static bool is_followed(const struct directory *d)
{
	if (d->size <= (d->n_touched < DIRECTORY_FILES ? DIRECTORY_SMALL : DIRECTORY_LARGE))
		return true;
	return d->n_touched >= DIRECTORY_MANY && d->n_touched >= d->n_files / 4;
}

/* The first touch of a directory may be one of many beside each other. */
static void look_at_children(struct ahead *a, const struct table *t, uint32_t directory)
{
	uint32_t parent = directory_at(t, directory)->parent;
	struct directory *p = directory_at(t, parent);

	if (++p->n_children < CHILDREN_MANY || p->children_asked)
		return;
	p->children_asked = true;
	for (size_t i = 0; i < n_files(t); i++) {
		const struct directory *d = directory_at(t, file_at(t, i)->directory);

		if (d->parent == parent && d->size <= DIRECTORY_SMALL)
			ask_file(a, t, file_at(t, i));
	}
}

/* The last file of a directory was touched. */
static void note_whole(struct table *t, uint64_t off)
{
	if (++t->n_whole != WHOLE_MANY || span_table_at(layer_store_spans(t->layer), off, &t->rest) < 0)
		return;
	t->n_rest = span_table_count(layer_store_spans(t->layer));
}

/* As much as should wait; each touch asks for more. */
static void ask_rest(struct ahead *a, struct table *t)
{
	const struct span_table *spans = layer_store_spans(t->layer);

	while (t->n_rest > 0 && fill_has_room(a->fill)) {
		size_t n = t->n_rest < REST_SPANS ? t->n_rest : REST_SPANS;

		n = n < span_table_count(spans) - t->rest ? n : span_table_count(spans) - t->rest;
		fill_ahead(a->fill, t->layer, t->number, t->rest, n);
		t->rest = (t->rest + n) % span_table_count(spans);
		t->n_rest -= n;
	}
}

/* Of a large file; of data only what is read on: what lies between two places that were looked up may never be. */
static void fill_gaps(struct ahead *a, struct table *t, const struct file *f, uint64_t off)
{
	const struct span_table *spans = layer_store_spans(t->layer);
	struct gap gaps[GAP_KINDS];
	size_t first, end, at;
	uint64_t reach = 0;

	if (!t->marks) {
		t->n_marks = span_table_count(spans);
		t->marks = calloc(t->n_marks, 1);
	}
	if (!t->marks || t->n_marks != span_table_count(spans))
		return;
	if (spans_of(spans, f, &first, &end) < 0 || span_table_at(spans, off, &at) < 0 || at < first || at >= end)
		return;
	if (f->program || f->library)
		reach = (f->parts < GAP_PARTS ? f->parts : GAP_PARTS) * GAP_PART;
	gaps_touch(t->marks, spans, at, first, end, reach, gaps);
	for (size_t i = 0; i < GAP_KINDS; i++)
		fill_ahead(a->fill, t->layer, t->number, gaps[i].first, gaps[i].n);
}

static void look_at_file(struct ahead *a, struct table *t, struct file *f, uint64_t off)
{
	struct directory *d = directory_at(t, f->directory);
	bool first = d->n_touched == 0;

	if (f->parts < UINT16_MAX)
		f->parts++;
	if ((f->program || f->library) && off == f->off && !f->touched)
		closure_begin(a->context, a->fill, t->number, f->off, f->size, f->library);
	if (!f->touched && ++d->n_touched == d->n_files && d->n_files >= WHOLE_FILES)
		note_whole(t, off);
	f->touched = true;
	if (is_wanted_whole(f, off))
		ask_file(a, t, f);
	else if (f->size > BESIDE_MAX && !f->asked)
		fill_gaps(a, t, f, off);
	if (f->size <= BESIDE_MAX && !d->asked && is_followed(d)) {
		d->asked = true;
		ask_directory(a, t, f);
	}
	if (first)
		look_at_children(a, t, f->directory);
}

/* `large`: of a file whose own spans are looked at. Who reads on in it does not read on behind it. */
static void follow_run(struct ahead *a, struct table *t, bool large, uint64_t off)
{
	const struct span_table *spans = layer_store_spans(t->layer);
	unsigned int far, k, n_asked = 0;
	struct span_unit u;
	size_t at;

	if (span_table_at(spans, off, &at) < 0)
		return;
	span_unit_of(spans, at, &u);
	if (u.first == t->first)
		return;
	if (u.first != t->end) {
		t->run = 0;
		t->asked_to = 0;
	} else {
		t->run++;
	}
	t->first = u.first;
	t->end = u.first + u.n;
	if (t->run < RUN_MIN || large)
		return;
	far = t->run < RUN_AHEAD ? t->run : RUN_AHEAD;
	at = t->end;
	for (k = 0; k < far && at < span_table_count(spans); k++) {
		span_unit_of(spans, at, &u);
		n_asked += at < t->asked_to;
		at = u.first + u.n;
	}
	if (n_asked > k / 2 || at <= t->asked_to)
		return; /* several at once go with one request */
	if (t->asked_to < t->end)
		t->asked_to = t->end;
	fill_ahead(a->fill, t->layer, t->number, t->asked_to, at - t->asked_to);
	t->asked_to = at;
}

static void forget_tables(struct ahead *a)
{
	for (struct table *t = a->tables, *next; t; t = next) {
		next = t->next;
		table_free(&t);
	}
	a->tables = NULL;
}

static void look(struct ahead *a, const struct need *n)
{
	const unsigned int evicted = atomic_load(&a->context->n_evicted);
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;
	uint64_t off = n->first_page * LAYER_PAGE + n->in_page % LAYER_PAGE;
	const char *key;
	struct table *t;
	struct file *f;

	if (number_table_layer(a->context->numbers, n->number, &key) < 0 ||
	    layer_table_get(a->context->layers, key, &layer) < 0 || off >= layer_store_size(layer))
		return;
	if (evicted != a->evicted) { /* what was asked for may be missing again */
		forget_tables(a);
		a->evicted = evicted;
	}
	t = table_of(a, n->number, layer);
	if (!t)
		return;
	t->layer = layer;
	f = find_file(t, off);
	if (f)
		look_at_file(a, t, f, off);
	follow_run(a, t, f && f->size > BESIDE_MAX, off);
	ask_rest(a, t);
	t->layer = NULL;
}

/* Waits for a touch; after KEEP_SECONDS without one the tables go. The lock is held. */
static void wait_for_touch(struct ahead *a)
{
	while (a->n == 0) {
		struct timespec until;

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

		pthread_mutex_lock(&a->lock);
		wait_for_touch(a);
		n = a->touches[a->first];
		a->first = (a->first + 1) % TOUCHES;
		a->n--;
		pthread_mutex_unlock(&a->lock);
		look(a, &n);
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
