/* The zTOC is fetched whole, becomes index, spans and windows, and a directory in one rename. */
#include "fetch/soci_layer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/report.h"
#include "cache/layer_blob.h"
#include "cache/layer_new.h"
#include "format/ztoc_layer.h"

void soci_layer_key(const char *repository, const struct soci_index *i, const struct soci_index_layer *l,
		    char ret[static LAYER_KEY_SIZE])
{
	_cleanup_(bytes_free) struct bytes all = {0};
	char hex[DIGEST_HEX_MAX + 1];
	struct digest d;

	if (i->version == 1)
		bytes_printf(&all, "%s\n", repository);
	bytes_printf(&all, "soci\n%s\n", digest_hex(&l->layer, hex));
	bytes_printf(&all, "%s\n", digest_hex(&l->ztoc, hex));
	hash_bytes(all.data, all.size, &d);
	snprintf(ret, LAYER_KEY_SIZE, "%s-%.64s", i->version == 1 ? "repo" : "toc", digest_hex(&d, hex));
}

struct parts {
	struct layer_builder *builder;
	struct bytes spans, windows;
	uint64_t index_size, layer_file_size;
};

static void parts_free(struct parts *p)
{
	layer_builder_free(&p->builder);
	bytes_free(&p->spans);
	bytes_free(&p->windows);
}

static int parse(const struct bytes *table, const struct soci_index_layer *l, const struct descriptor *blob,
		 struct ztoc **ret)
{
	_cleanup_(ztoc_free) struct ztoc *z = NULL;
	char text[DIGEST_TEXT_MAX];
	int r = ztoc_parse(table->data, table->size, &z);

	if (r == -ENOMEM)
		return r;
	digest_text(&l->ztoc, text);
	if (r < 0)
		return fail(-r, "its zTOC %s %s", text, r == -EFBIG ? "passes a limit" :
							r == -EOPNOTSUPP ? "is of a compression that is not known" :
									   "is broken");
	if (ztoc_packed_size(z) != blob->size)
		return fail(EBADMSG, "its zTOC %s is of a layer of %" PRIu64 " bytes, it has %" PRIu64, text,
			    ztoc_packed_size(z), blob->size);
	*ret = TAKE(z);
	return 0;
}

/* The zTOC is dropped before the index is written: both may be large. */
static int build(struct source *source, const struct descriptor *blob, const struct soci_index_layer *l, struct parts *p)
{
	const struct descriptor from = {.digest = l->ztoc, .size = l->ztoc_size};
	_cleanup_(bytes_free) struct bytes table = {0};
	_cleanup_(ztoc_free) struct ztoc *z = NULL;
	int r = source_get_blob(source, &from, LIMIT_LAZY_BLOB_SIZE, &table);

	if (r == 0)
		r = parse(&table, l, blob, &z);
	if (r == 0)
		r = layer_builder_new(&p->builder);
	if (r == 0)
		r = ztoc_layer_build(z, p->builder, &p->spans, &p->windows);
	return r < 0 ? r : layer_builder_finish(p->builder, ztoc_size(z), &p->index_size, &p->layer_file_size);
}

static int write_files(struct layer_new *layer, const char *repository, const struct descriptor *blob,
		       const struct parts *p)
{
	_cleanup_(bytes_free) struct bytes line = {0}, name = {0};
	void *index;
	int r = layer_new_index(layer, p->index_size, &index);

	if (r < 0)
		return r;
	layer_builder_render(p->builder, index);
	r = layer_blob_text(&(struct layer_blob){blob->digest, blob->size}, &line);
	if (r == 0)
		r = bytes_printf(&name, "%s\n", repository);
	if (r == 0)
		r = layer_new_file(layer, LAYER_BLOB_FILE, line.data, line.size);
	if (r == 0 && p->windows.size)
		r = layer_new_file(layer, LAYER_BLOB_WINDOWS, p->windows.data, p->windows.size);
	return r < 0 ? r : layer_new_file(layer, "sources", name.data, name.size);
}

int soci_layer_make(struct context *c, struct source *source, const char *repository, const struct descriptor *blob,
		    const struct soci_index *i, const struct soci_index_layer *l)
{
	_cleanup_(layer_new_free) struct layer_new *layer = NULL;
	_cleanup_(parts_free) struct parts p = {0};
	char key[LAYER_KEY_SIZE];
	int r;

	soci_layer_key(repository, i, l, key);
	r = layer_table_is_made(c->layers, key);
	if (r != 0)
		return r < 0 ? r : 0;
	r = build(source, blob, l, &p);
	if (r == 0)
		r = layer_new_open(c->store, &layer);
	if (r == 0)
		r = write_files(layer, repository, blob, &p);
	if (r == 0)
		r = layer_new_commit_empty(layer, key, p.layer_file_size, &p.spans);
	if (r == 0)
		layer_table_drop(c->layers, key); /* what was there was damaged */
	return r;
}
