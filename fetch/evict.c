/* Eviction of whole layers, for the command, and of ranges, for the budget and the check. */
#include "fetch/evict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/report.h"
#include "cache/layer_sources.h"
#include "fetch/background.h"
#include "fetch/way_back.h"

static int punch_spans(struct layer_store *layer, uint64_t *evicted)
{
	const struct span_table *t = layer_store_spans(layer);
	uint64_t before = layer_store_bytes_present(layer);
	_cleanup_(fd_free_memory) struct layer_range *ranges = calloc(span_table_count(t) + 1, sizeof(*ranges));
	size_t n = 0;
	int r;

	if (!ranges)
		return -ENOMEM;
	for (size_t i = 0; i < span_table_count(t); i++) {
		struct span span;

		span_table_get(t, i, &span);
		if (span_table_comes_back(&span))
			ranges[n++] = (struct layer_range){span.off, span.size};
	}
	r = layer_store_punch(layer, ranges, n);
	*evicted += before - layer_store_bytes_present(layer);
	return r;
}

int evict_layer(struct context *c, const char *key, uint64_t *evicted, const char **ret_why)
{
	_cleanup_(layer_sources_free) char **names = NULL;
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;
	uint32_t number;
	size_t n = 0;
	int r;

	*ret_why = NULL;
	if (layer_table_get(c->layers, key, &layer) < 0)
		return 0;
	background_forget(c->background, key);
	atomic_fetch_add(&c->n_evicted, 1);
	r = way_back_make(c, layer, NULL);
	if (r == 1) {
		layer_store_free(&layer);
		r = layer_table_get(c->layers, key, &layer);
	}
	if (r == 0 && (!way_back_is_there(layer) || layer_sources_get(c->store, key, &names, &n) < 0 || n == 0)) {
		*ret_why = "compressed in one piece, or its packed bytes are gone: its bytes have no way back";
		return 0;
	}
	if (r == 0)
		r = punch_spans(layer, evicted);
	if (number_table_find_layer(c->numbers, key, &number) == 0)
		context_tell_server(c, NEED_DROP_PAGES, number);
	if (r < 0)
		return fail(-r, "layer %s cannot be evicted: %s%s", key, strerror(-r),
			    r == -EOPNOTSUPP ? " (this file system cannot punch holes)" : "");
	return 0;
}

bool evict_has_way_back(const struct context *c, const char *key)
{
	_cleanup_(layer_sources_free) char **names = NULL;
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;
	size_t n = 0;

	return layer_sources_get(c->store, key, &names, &n) == 0 && n > 0 &&
	       layer_table_get(c->layers, key, &layer) == 0 && way_back_is_there(layer);
}

int evict_ranges(struct context *c, struct layer_store *layer, const struct layer_range *ranges, size_t n)
{
	int r;

	background_forget(c->background, layer_store_key(layer));
	atomic_fetch_add(&c->n_evicted, 1);
	pthread_mutex_lock(&c->flight_lock);
	r = context_in_flight(c, layer_store_key(layer)) ? -EBUSY : layer_store_punch(layer, ranges, n);
	pthread_mutex_unlock(&c->flight_lock);
	return r;
}
