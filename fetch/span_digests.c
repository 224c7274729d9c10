/* One pass over the layer file: each span's digest, and once more the diffID of all. */
#include "fetch/span_digests.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/report.h"
#include "cache/have_synced.h"
#include "fetch/stream.h"

static int digest_spans(const struct layer_store *layer, struct span_table_builder *b, struct digest *ret_diff_id)
{
	const struct span_table *t = layer_store_spans(layer);
	_cleanup_(fd_free_memory) uint8_t *data = malloc(SPAN_SIZE);
	_cleanup_(hash_free) struct hash *all = NULL;
	int r = hash_new(DIGEST_SHA256, &all);

	if (!data)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < span_table_count(t); i++) {
		struct span span;

		span_table_get(t, i, &span);
		if (span.kind == SPAN_NONE) {
			if (span.size > SPAN_SIZE || span.packed_size > span.size)
				return -EBADMSG;
			r = layer_store_read(layer, data, (size_t)span.size, span.off);
			if (r < 0)
				return r;
			hash_update(all, data, (size_t)span.packed_size);
			hash_bytes(data, (size_t)span.size, &span.digest);
			span.kind = SPAN_STORED;
		}
		r = span_table_add(b, &span);
	}
	if (r == 0)
		hash_finish(all, ret_diff_id);
	return r;
}

static bool has_digests(const struct layer_store *layer)
{
	struct span first;

	if (span_table_count(layer_store_spans(layer)) == 0)
		return true;
	span_table_get(layer_store_spans(layer), 0, &first);
	return first.kind != SPAN_NONE;
}

int span_digests_make(const struct store *s, const struct layer_store *layer)
{
	_cleanup_(span_table_builder_free) struct span_table_builder b = {0};
	_cleanup_(bytes_free) struct bytes table = {0};
	_cleanup_(fd_close) int dir_fd = -1;
	const char *key = layer_store_key(layer);
	char made[LAYER_KEY_SIZE];
	struct digest diff_id;
	int r;

	if (has_digests(layer))
		return 0;
	dir_fd = beneath_cache_open(s->layers_fd, key, O_RDONLY | O_DIRECTORY, 0);
	if (dir_fd < 0)
		return dir_fd;
	r = digest_spans(layer, &b, &diff_id);
	if (r < 0)
		return r;
	stream_key(&diff_id, made);
	if (strcmp(made, key) != 0) {
		return layer_store_mark_bad(s, key);
	}
	r = span_table_finish(&b, &table);
	if (r == 0)
		r = have_synced_remove(dir_fd); /* it speaks of the table as it was */
	if (r == 0)
		r = fd_write_file(dir_fd, "spans", table.data, table.size, 0600);
	return r < 0 ? r : 1;
}
