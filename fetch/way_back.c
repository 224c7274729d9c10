/* One pass over the packed bytes; then windows, then spans appear beside the layer, each by rename. */
#include "fetch/way_back.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/report.h"
#include "cache/have_synced.h"
#include "cache/layer_sources.h"
#include "fetch/stream.h"
#include "format/span_maker.h"

#define PIECE (256u << 10)

struct made {
	struct bytes spans, windows;
};

static void made_free(struct made *m)
{
	bytes_free(&m->spans);
	bytes_free(&m->windows);
}

bool way_back_is_there(const struct layer_store *layer)
{
	struct span first;

	if (span_table_count(layer_store_spans(layer)) == 0)
		return true;
	span_table_get(layer_store_spans(layer), 0, &first);
	return span_table_comes_back(&first);
}

/* A layout has the blob in a file of its own. */
static int open_in_layout(struct context *c, const char *key, const struct layer_blob *blob)
{
	_cleanup_(layer_sources_free) char **names = NULL;
	struct descriptor d = {.digest = blob->digest, .size = blob->size};
	int fd = -ENOENT;
	size_t n = 0;

	if (layer_sources_get(c->store, key, &names, &n) < 0)
		return -ENOENT;
	for (size_t i = 0; fd < 0 && i < n; i++) {
		_cleanup_(download_free) struct download *download = NULL;
		struct source *source;
		struct reference ref;

		if (reference_parse(names[i], &ref) < 0 || ref.kind != REFERENCE_LAYOUT ||
		    source_table_get(c->sources, &ref, NULL, &source) < 0 ||
		    source_download(source, &d, -1, 0, &download) < 0)
			continue;
		fd = fcntl(download_fd(download), F_DUPFD_CLOEXEC, 3);
	}
	return fd < 0 ? -ENOENT : fd;
}

int way_back_open_packed(struct context *c, const char *key, const struct layer_blob *blob)
{
	char text[REPORT_TEXT_SIZE], name[STREAM_PART_SIZE], *outer;
	_cleanup_(fd_close) int fd = -1;
	struct stat st;
	int r;

	stream_part_name(&blob->digest, name);
	fd = openat(c->store->tmp_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && fstat(fd, &st) == 0 && (uint64_t)st.st_size == blob->size)
		return TAKE_FD(fd);
	outer = report_capture(text); /* a layout that is gone is no error */
	r = open_in_layout(c, key, blob);
	report_capture_again(outer);
	return r;
}

static int feed(struct span_maker **m, int fd, uint64_t size, const atomic_bool *stop)
{
	_cleanup_(fd_free_memory) uint8_t *piece = malloc(PIECE);
	int r = piece ? 0 : -ENOMEM;

	for (uint64_t off = 0; r == 0 && off < size;) {
		size_t n = size - off < PIECE ? (size_t)(size - off) : PIECE;

		if (stop && atomic_load(stop))
			return -ECANCELED;
		r = fd_pread_full(fd, piece, n, off);
		if (r == 0 && off == 0) {
			enum decoder_kind kind = decoder_sniff(piece, n);

			r = kind == DECODER_STORED ? -EOPNOTSUPP : span_maker_new(kind, m);
		}
		if (r == 0)
			r = span_maker_feed(*m, piece, n);
		off += n;
	}
	return r == 0 && !*m ? -EOPNOTSUPP : r;
}

/* Expanded sparse members stand behind the tar, as before. */
static int add_rest(const struct layer_store *layer, struct span_table_builder *b)
{
	const struct span_table *t = layer_store_spans(layer);
	struct span last;

	span_table_get(t, span_table_count(t) - 1, &last);
	if (last.kind != SPAN_COPY)
		return 0;
	return last.off == b->next_off ? span_table_add(b, &last) : -EBADMSG;
}

/* -EBADMSG: the packed bytes are not this layer's. -EOPNOTSUPP: they cannot be entered. */
static int make(const struct layer_store *layer, int fd, uint64_t size, const atomic_bool *stop, struct made *ret)
{
	_cleanup_(span_table_builder_free) struct span_table_builder b = {0};
	_cleanup_(span_maker_free) struct span_maker *m = NULL;
	char key[LAYER_KEY_SIZE];
	struct digest diff_id;
	uint64_t plain_size;
	int r = feed(&m, fd, size, stop);

	if (r == 0)
		r = span_maker_finish(m, &b, &ret->windows, &diff_id, &plain_size);
	if (r < 0)
		return r;
	stream_key(&diff_id, key);
	if (strcmp(key, layer_store_key(layer)) != 0 || plain_size != span_table_plain_size(layer_store_spans(layer)))
		return -EBADMSG;
	r = add_rest(layer, &b);
	return r < 0 ? r : span_table_finish(&b, &ret->spans);
}

/* A crash between the two leaves the old spans, which know nothing of windows. */
static int put(const struct store *s, const char *key, const struct made *m)
{
	_cleanup_(fd_close) int dir_fd = beneath_cache_open(s->layers_fd, key, O_RDONLY | O_DIRECTORY, 0);
	int r = dir_fd < 0 ? dir_fd : fd_write_file(dir_fd, LAYER_BLOB_WINDOWS, m->windows.data, m->windows.size, 0600);

	if (r == 0)
		r = have_synced_remove(dir_fd); /* it speaks of the spans as they were */
	if (r == 0)
		r = fd_write_file(dir_fd, "spans", m->spans.data, m->spans.size, 0600);
	return r < 0 ? fail(-r, "layer %s: its spans cannot be written: %s", key, strerror(-r)) : 0;
}

int way_back_make(struct context *c, const struct layer_store *layer, const atomic_bool *stop)
{
	const char *key = layer_store_key(layer);
	_cleanup_(made_free) struct made m = {0};
	_cleanup_(fd_close) int fd = -1;
	char name[STREAM_PART_SIZE];
	struct layer_blob blob;
	int r;

	if (way_back_is_there(layer) || layer_blob_get(c->store, key, &blob) < 0)
		return 0;
	fd = way_back_open_packed(c, key, &blob);
	if (fd < 0)
		return 0;
	r = make(layer, fd, blob.size, stop, &m);
	if (r == -ECANCELED)
		return 0;
	if (r == 0)
		r = put(c->store, key, &m);
	if (r == 0)
		layer_table_drop(c->layers, key);
	/* Also when they are of no use: broken since, or of one piece. */
	if (r == 0 || r == -EBADMSG || r == -EOPNOTSUPP) {
		stream_part_name(&blob.digest, name);
		unlinkat(c->store->tmp_fd, name, 0);
	}
	if (r == -EBADMSG || r == -EOPNOTSUPP)
		return 0;
	return r < 0 ? r : 1;
}

/* The next layer of the store that has no way back yet, a reference; NULL at the end. */
static struct layer_store *next_without(struct context *c, DIR *dir)
{
	struct layer_store *layer = NULL;
	struct dirent *d;

	while ((d = readdir(dir))) {
		if (d->d_name[0] == '.' || strlen(d->d_name) >= LAYER_KEY_SIZE || layer_table_get(c->layers, d->d_name, &layer) < 0)
			continue;
		if (!way_back_is_there(layer))
			return layer;
		layer_store_free(&layer);
	}
	return NULL;
}

static DIR *open_layers(const struct context *c)
{
	int fd = openat(c->store->layers_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		fd_close(&fd);
	return dir;
}

bool way_back_waits_for(struct context *c, const char *part, char ret_key[static LAYER_KEY_SIZE])
{
	DIR *dir = open_layers(c);
	struct layer_store *layer;
	bool found = false;

	while (dir && !found && (layer = next_without(c, dir))) {
		char name[STREAM_PART_SIZE];
		struct layer_blob blob;

		if (layer_blob_get(c->store, layer_store_key(layer), &blob) == 0) {
			stream_part_name(&blob.digest, name);
			found = strcmp(name, part) == 0;
			snprintf(ret_key, LAYER_KEY_SIZE, "%s", layer_store_key(layer));
		}
		layer_store_free(&layer);
	}
	if (dir)
		closedir(dir);
	return found;
}

void way_back_step(struct context *c, const atomic_bool *stop)
{
	DIR *dir = open_layers(c);
	struct layer_store *layer;
	int r = 0;

	while (dir && r >= 0 && !atomic_load(stop) && (layer = next_without(c, dir))) {
		r = way_back_make(c, layer, stop);
		layer_store_free(&layer);
	}
	if (dir)
		closedir(dir);
}
