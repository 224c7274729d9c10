/* Counts, and when it is too much: left-over packed bytes first, then those that a way back is made from, then the
 * coldest spans, layer by layer. */
#include "fetch/budget.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/disk_use.h"
#include "base/fd.h"
#include "base/report.h"
#include "fetch/evict.h"
#include "fetch/way_back.h"

struct cold {
	struct layer_store *layer; /* of the list of layers */
	struct layer_range range;
	uint32_t touched;
};

struct candidates {
	struct layer_store **layers;
	struct cold *spans;
	size_t n_layers, n, capacity;
};

static void candidates_free(struct candidates *k)
{
	for (size_t i = 0; i < k->n_layers; i++)
		layer_store_free(&k->layers[i]);
	free(k->layers);
	free(k->spans);
}

static uint64_t used_below(const struct store *s, const char *directory)
{
	_cleanup_(fd_free_memory) char *path = NULL;

	if (asprintf(&path, "%s/%s", s->store_path, directory) < 0) {
		path = NULL;
		return 0;
	}
	return disk_use_tree(path);
}

static DIR *open_list(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		fd_close(&fd);
	return dir;
}

static bool is_downloading(const struct context *c, const char *hex)
{
	char ours[DIGEST_HEX_MAX + 1];

	for (const struct flight *f = c->flights; f; f = f->next)
		if (strncmp(digest_hex(&f->blob, ours), hex, strlen(ours)) == 0)
			return true;
	return false;
}

/* Of downloads that nobody goes on with. Without its packed bytes a layer that is here would have no way back for ever. */
static void drop_parts(struct context *c)
{
	DIR *dir = open_list(c->store->tmp_fd);
	char key[LAYER_KEY_SIZE];
	struct dirent *d;

	pthread_mutex_lock(&c->flight_lock);
	while (dir && (d = readdir(dir))) {
		size_t size = strlen(d->d_name);

		if (size > 5 && strcmp(d->d_name + size - 5, ".part") == 0 && !is_downloading(c, d->d_name) &&
		    !way_back_waits_for(c, d->d_name, key))
			unlinkat(c->store->tmp_fd, d->d_name, 0);
	}
	pthread_mutex_unlock(&c->flight_lock);
	if (dir)
		closedir(dir);
}

static int add_span(struct candidates *k, struct layer_store *layer, const struct span *s, uint32_t touched)
{
	if (k->n == k->capacity) {
		size_t capacity = k->capacity ? k->capacity * 2 : 256;
		struct cold *more = reallocarray(k->spans, capacity, sizeof(*more));

		if (!more)
			return -ENOMEM;
		k->spans = more;
		k->capacity = capacity;
	}
	k->spans[k->n++] = (struct cold){layer, {s->off, s->size}, touched};
	return 0;
}

/* The spans of a layer that can go and come back. The list takes the layer over. */
static int add_layer(struct context *c, struct candidates *k, struct layer_store *layer)
{
	const struct span_table *t = layer_store_spans(layer);
	struct layer_store **more = reallocarray(k->layers, k->n_layers + 1, sizeof(struct layer_store *));
	uint32_t number = 0;
	int r = 0;

	if (!more) {
		layer_store_free(&layer);
		return -ENOMEM;
	}
	k->layers = more;
	k->layers[k->n_layers++] = layer;
	number_table_find_layer(c->numbers, layer_store_key(layer), &number);
	for (size_t i = 0; r == 0 && i < span_table_count(t); i++) {
		struct span s;

		span_table_get(t, i, &s);
		if (span_table_comes_back(&s) && layer_store_present(layer, s.off, s.size))
			r = add_span(k, layer, &s, number ? number_table_touched(c->numbers, number, s.off) : 0);
	}
	return r;
}

static int find_candidates(struct context *c, struct candidates *k)
{
	DIR *dir = open_list(c->store->layers_fd);
	struct dirent *d;
	int r = dir ? 0 : -errno;

	while (r == 0 && (d = readdir(dir))) {
		struct layer_store *layer;

		if (d->d_name[0] != '.' && strlen(d->d_name) < LAYER_KEY_SIZE && evict_has_way_back(c, d->d_name) &&
		    layer_table_get(c->layers, d->d_name, &layer) == 0)
			r = add_layer(c, k, layer);
	}
	if (dir)
		closedir(dir);
	return r;
}

static int by_age(const void *a, const void *b)
{
	const struct cold *x = a, *y = b;

	return x->touched < y->touched ? -1 : x->touched > y->touched;
}

static int by_layer(const void *a, const void *b)
{
	const struct cold *x = a, *y = b;

	if (x->layer != y->layer)
		return (uintptr_t)x->layer < (uintptr_t)y->layer ? -1 : 1;
	return x->range.off < y->range.off ? -1 : x->range.off > y->range.off;
}

/* The first `n` spans, each layer's together: have.synced is written once a layer. */
static int evict_first(struct context *c, struct candidates *k, size_t n)
{
	_cleanup_(fd_free_memory) struct layer_range *ranges = calloc(n + 1, sizeof(*ranges));
	int r = 0;

	if (!ranges)
		return -ENOMEM;
	qsort(k->spans, n, sizeof(*k->spans), by_layer);
	for (size_t i = 0; r == 0 && i < n;) {
		struct layer_store *layer = k->spans[i].layer;
		size_t n_ranges = 0;

		for (; i < n && k->spans[i].layer == layer; i++)
			ranges[n_ranges++] = k->spans[i].range;
		r = evict_ranges(c, layer, ranges, n_ranges);
		if (r == -EBUSY)
			r = 0; /* it is being streamed: next time */
	}
	return r;
}

static int evict_bytes(struct context *c, uint64_t wanted)
{
	_cleanup_(candidates_free) struct candidates k = {0};
	uint64_t bytes = 0;
	size_t n = 0;
	int r = find_candidates(c, &k);

	if (r < 0 || k.n == 0)
		return r;
	qsort(k.spans, k.n, sizeof(*k.spans), by_age);
	for (; n < k.n && bytes < wanted; n++)
		bytes += k.spans[n].range.size;
	return evict_first(c, &k, n);
}

static uint64_t used(const struct context *c)
{
	return used_below(c->store, "layers") + used_below(c->store, "blobs") + used_below(c->store, "tmp");
}

/* Down to a sixteenth below it, so that not every new span is a new round. */
void budget_hold(struct context *c)
{
	const uint64_t wanted = c->budget - c->budget / 16;
	const atomic_bool never = false;
	uint64_t now;
	int r = 0;

	if (c->budget == UINT64_MAX || used(c) <= c->budget)
		return;
	drop_parts(c);
	if (used(c) > wanted)
		way_back_step(c, &never); /* its packed bytes go, and its own bytes may go */
	now = used(c);
	if (now > wanted)
		r = evict_bytes(c, now - wanted);
	if (r < 0)
		report_note("the store cannot be kept within its budget: %s", strerror(-r));
}
