/* A layer of SPANS stored spans of SIZE bytes each, in a store of its own. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/hash.h"
#include "cache/layer_new.h"
#include "cache/layer_store.h"

#include <cmocka.h> /* last: it has a macro called fail */

#define KEY "tar-0000000000000000000000000000000000000000000000000000000000000001"

struct spans_layer {
	char dir[64];
	struct store *store;
	struct layer_store *layer;
};

static void spans_layer_make(struct spans_layer *l, uint64_t n, uint64_t size)
{
	struct tar_member m = {.type = TAR_FILE, .path = "f", .link = "", .mode = 0644, .size = n * size - 512, .body_off = 512};
	struct span_table_builder spans = {0};
	_cleanup_(bytes_free) struct bytes table = {0};
	uint64_t index_size, layer_file_size;
	struct layer_builder *b;
	struct layer_new *new;
	char path[96], run[96];
	void *index;

	strcpy(l->dir, "/tmp/lazyrun-store-XXXXXX");
	assert_non_null(mkdtemp(l->dir));
	snprintf(path, sizeof(path), "%s/store", l->dir);
	snprintf(run, sizeof(run), "%s/run", l->dir);
	assert_int_equal(store_open(path, run, true, &l->store), 0);
	assert_int_equal(layer_builder_new(&b), 0);
	assert_int_equal(layer_builder_add(b, &m), 0);
	assert_int_equal(layer_builder_finish(b, n * size, &index_size, &layer_file_size), 0);
	assert_int_equal(layer_new_open(l->store, &new), 0);
	for (uint64_t off = 0; off < n * size; off += size) {
		struct span s = {.off = off, .size = size, .kind = SPAN_STORED, .packed_off = off, .packed_size = size};

		hash_bytes("", 0, &s.digest);
		assert_int_equal(span_table_add(&spans, &s), 0);
	}
	assert_int_equal(span_table_finish(&spans, &table), 0);
	assert_int_equal(layer_new_index(new, index_size, &index), 0);
	layer_builder_render(b, index);
	assert_int_equal(layer_new_commit(new, KEY, layer_file_size, &table), 0);
	layer_new_free(&new);
	layer_builder_free(&b);
	assert_int_equal(layer_store_open(l->store, KEY, true, &l->layer), 0);
}

static void spans_layer_end(struct spans_layer *l)
{
	layer_store_free(&l->layer);
	store_free(&l->store);
	assert_int_equal(fd_remove_tree(AT_FDCWD, l->dir), 0);
}
