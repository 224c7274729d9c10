/* Both blobs are fetched side by side, checked against each other, and become a directory in one rename. */
#include "fetch/lazy_layer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/beside.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/report.h"
#include "cache/layer_blob.h"
#include "cache/layer_new.h"
#include "format/decoder.h"
#include "format/erofs_read.h"
#include "format/link_table.h"
#include "format/span_table.h"
#include "format/zstd_blob.h"

void lazy_layer_key(const char *repository, const struct lazy_artifact_layer *l, char ret[static LAYER_KEY_SIZE])
{
	const struct digest *parts[] = {&l->layer, &l->index.digest, &l->spans.digest, &l->windows.digest};
	_cleanup_(bytes_free) struct bytes all = {0};
	char hex[DIGEST_HEX_MAX + 1];
	struct digest d;

	bytes_printf(&all, "%s\n", repository);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		bytes_printf(&all, "%s\n", digest_hex(parts[i], hex));
	hash_bytes(all.data, all.size, &d);
	snprintf(ret, LAYER_KEY_SIZE, "repo-%.64s", digest_hex(&d, hex));
}

struct get { /* one blob on its way */
	struct source *source;
	const struct lazy_artifact_blob *blob;
	struct bytes packed;
};

static int get(void *argument)
{
	struct get *g = argument;
	struct descriptor d = {.digest = g->blob->digest, .size = g->blob->size};

	return source_get_blob(g->source, &d, LIMIT_LAZY_BLOB_SIZE, &g->packed);
}

static int get_both(struct get *index, struct get *spans)
{
	struct beside beside;
	int r;

	beside_begin(&beside, get, spans);
	r = get(index);
	if (r < 0)
		beside_end(&beside);
	return r < 0 ? r : beside_report(&beside);
}

static int broken(const struct source *source, const char *what, const struct lazy_artifact_blob *b)
{
	char text[DIGEST_TEXT_MAX];

	return fail(EBADMSG, "the artifact in %s is broken: its %s %s is not one", source_name(source), what,
		    digest_text(&b->digest, text));
}

static int unpack_index(const struct get *g, struct layer_new *layer, struct erofs_read *ret)
{
	size_t size = 0;
	void *index;
	int r = zstd_blob_size(g->packed.data, g->packed.size, LIMIT_LAYER_INDEX_SIZE, &size);

	if (r == 0 && decoder_is_bomb(g->packed.size, size))
		r = -EFBIG;
	if (r < 0 || size == 0)
		return broken(g->source, "layer index", g->blob);
	r = layer_new_index(layer, size, &index);
	if (r < 0)
		return r;
	if (zstd_blob_unpack(g->packed.data, g->packed.size, index, size) < 0 ||
	    erofs_read_open(index, size, ret) < 0 || ret->layer_file_size > LIMIT_LAYER_FILE_SIZE)
		return broken(g->source, "layer index", g->blob);
	return 0;
}

static int unpack(const void *data, size_t size, struct bytes *ret)
{
	int r = zstd_blob_size(data, size, LIMIT_LAZY_BLOB_SIZE, &ret->size);

	if (r == 0 && decoder_is_bomb(size, ret->size))
		r = -EFBIG;
	if (r == 0)
		r = bytes_reserve(ret, 1);
	return r < 0 ? r : zstd_blob_unpack(data, size, ret->data, ret->size);
}

/* And the link table behind it, which stays empty when there is none, or one of a newer lazyrun. */
static int unpack_spans(const struct get *g, uint64_t layer_file_size, struct bytes *ret, struct bytes *ret_links)
{
	_cleanup_(span_table_free) struct span_table *t = NULL;
	_cleanup_(link_table_free) struct link_table *links = NULL;
	const size_t n = zstd_blob_first(g->packed.data, g->packed.size);
	int r = unpack(g->packed.data, n, ret);

	if (r == -ENOMEM)
		return r;
	if (r < 0 || span_table_load(ret->data, ret->size, layer_file_size, &t) < 0)
		return broken(g->source, "span table", g->blob);
	if (n < g->packed.size && (unpack(g->packed.data + n, g->packed.size - n, ret_links) < 0 ||
				   link_table_load(ret_links->data, ret_links->size, &links) < 0))
		ret_links->size = 0;
	return 0;
}

static int commit(struct context *c, struct layer_new *layer, const char *repository, const struct descriptor *blob,
		  const struct lazy_artifact_layer *l, uint64_t layer_file_size, const struct bytes *spans,
		  const struct bytes *links)
{
	_cleanup_(bytes_free) struct bytes line = {0}, name = {0}, windows = {0};
	char key[LAYER_KEY_SIZE];
	int r = layer_blob_text(&(struct layer_blob){blob->digest, blob->size}, &line);

	if (r == 0)
		r = bytes_printf(&name, "%s\n", repository);
	if (r == 0)
		r = layer_new_file(layer, LAYER_BLOB_FILE, line.data, line.size);
	if (r == 0 && l->windows.size)
		r = layer_blob_text(&(struct layer_blob){l->windows.digest, l->windows.size}, &windows);
	if (r == 0 && l->windows.size)
		r = layer_new_file(layer, LAYER_BLOB_WINDOWS_FILE, windows.data, windows.size);
	if (r == 0)
		r = layer_new_file(layer, "sources", name.data, name.size);
	if (r == 0 && links->size)
		r = layer_new_file(layer, LAYER_STORE_LINKS_FILE, links->data, links->size);
	if (r < 0)
		return r;
	lazy_layer_key(repository, l, key);
	r = layer_new_commit_empty(layer, key, layer_file_size, spans);
	if (r == 0)
		layer_table_drop(c->layers, key); /* what was there may have been damaged */
	return r;
}

int lazy_layer_make(struct context *c, struct source *source, const char *repository, const struct descriptor *blob,
		    const struct lazy_artifact_layer *l)
{
	_cleanup_(layer_new_free) struct layer_new *layer = NULL;
	_cleanup_(bytes_free) struct bytes spans = {0}, links = {0};
	struct erofs_read index = {0};
	char key[LAYER_KEY_SIZE];
	struct get *gets;
	int r;

	lazy_layer_key(repository, l, key);
	r = layer_table_is_made(c->layers, key);
	if (r != 0)
		return r < 0 ? r : 0;
	gets = calloc(2, sizeof(*gets));
	if (!gets)
		return -ENOMEM;
	gets[0].source = gets[1].source = source;
	gets[0].blob = &l->index;
	gets[1].blob = &l->spans;
	r = get_both(&gets[0], &gets[1]);
	if (r == 0)
		r = layer_new_open(c->store, &layer);
	if (r == 0)
		r = unpack_index(&gets[0], layer, &index);
	if (r == 0)
		r = unpack_spans(&gets[1], index.layer_file_size, &spans, &links);
	if (r == 0)
		r = commit(c, layer, repository, blob, l, index.layer_file_size, &spans, &links);
	bytes_free(&gets[0].packed);
	bytes_free(&gets[1].packed);
	free(gets);
	return r;
}
