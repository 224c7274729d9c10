/* One pass over the layer file; what is wrong is dropped after it. */
#include "fetch/check_layer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/json_field.h"
#include "base/report.h"
#include "cache/have_synced.h"
#include "fetch/evict.h"
#include "fetch/stream.h"
#include "format/layer_builder.h"
#include "format/tar.h"

struct pass {
	struct check *check;
	struct layer_store *layer;
	int dir_fd;
	uint8_t *piece; /* SPAN_SIZE bytes */
	bool bad;	/* more is wrong than pages that come back */
	struct layer_range *wrong;
	size_t n_wrong;

	/* Of a complete layer that is a tar, or shall be one: */
	char want[LAYER_KEY_SIZE]; /* its key, by the diffID; "": it is none */
	bool whole; /* so far */
	struct hash *tar_hash;
	struct tar *tar;
	struct layer_builder *builder;
	uint64_t tar_size;
};

static void pass_free(struct pass *p)
{
	layer_store_free(&p->layer);
	fd_close(&p->dir_fd);
	free(p->piece);
	free(p->wrong);
	hash_free(&p->tar_hash);
	tar_free(&p->tar);
	layer_builder_free(&p->builder);
}

static void say(const struct pass *p, const char *why, const char *repair)
{
	char what[LAYER_KEY_SIZE + 16];

	snprintf(what, sizeof(what), "layer %s", layer_store_key(p->layer));
	check_problem(p->check, what, why, repair);
}

/* The layer is made anew by the next start that needs it. */
static void say_bad(struct pass *p, const char *why)
{
	p->bad = true;
	say(p, why, p->check->dry ? NULL : "dropped; the layer is fetched anew when it is needed");
}

static int open_layer(struct check *c, const char *key, struct pass *p)
{
	char what[LAYER_KEY_SIZE + 16], text[REPORT_TEXT_SIZE], *outer = report_capture(text);
	int r = layer_table_get(c->context->layers, key, &p->layer);

	report_capture_again(outer);
	snprintf(what, sizeof(what), "layer %s", key);
	if (r == -ENOENT && faccessat(c->context->store->layers_fd, key, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		check_problem(c, what, "a file of it is missing, short or wrong",
			      "dropped; the layer is fetched anew when it is needed");
	if (r == 0)
		r = p->dir_fd = beneath_cache_open(c->context->store->layers_fd, key, O_RDONLY | O_DIRECTORY, 0);
	if (r < 0)
		return r == -ENOENT ? r : fail(-r, "%s cannot be opened: %s", what, strerror(-r));
	p->piece = malloc(SPAN_SIZE);
	p->wrong = calloc(span_table_count(layer_store_spans(p->layer)) + 1, sizeof(*p->wrong));
	return p->piece && p->wrong ? 0 : -ENOMEM;
}

static bool differs(const struct pass *p, const char *name, const struct digest *want)
{
	struct digest got;

	return have_synced_digest(p->dir_fd, name, &got) == 0 && !digest_equal(&got, want);
}

/* The index and the span table against the digests that were taken when they were synced. */
static void check_digests(struct pass *p)
{
	_cleanup_(have_synced_free) struct have_synced *h = NULL, *again = NULL;
	int r = have_synced_read(p->dir_fd, &h);
	bool index, spans;

	if (r == -EBADMSG) {
		r = p->check->dry ? -EBADMSG : have_synced_remove(p->dir_fd);
		say(p, "its have.synced is torn", r < 0 ? NULL : "dropped; it is written anew");
		return;
	}
	if (r < 0)
		return;
	index = differs(p, "index.erofs", &h->index);
	spans = differs(p, "spans", &h->spans);
	if (spans && (have_synced_read(p->dir_fd, &again) < 0 || !digest_equal(&again->spans, &h->spans)))
		spans = false; /* replaced meanwhile (way_back) */
	if (index)
		say_bad(p, "its index is not what was written");
	if (spans)
		say_bad(p, "its span table is not what was written");
}

static int begin_whole(struct pass *p)
{
	int r;

	p->whole = p->want[0] && layer_store_bytes_present(p->layer) == layer_store_size(p->layer);
	if (!p->whole)
		return 0;
	r = hash_new(DIGEST_SHA256, &p->tar_hash);
	if (r == 0)
		r = tar_new(&p->tar);
	return r < 0 ? r : layer_builder_new(&p->builder);
}

static void say_wrong(struct pass *p, const struct span *s)
{
	char why[100];

	p->whole = false;
	p->wrong[p->n_wrong++] = (struct layer_range){s->off, s->size};
	snprintf(why, sizeof(why), "its bytes at %" PRIu64 " do not match their digest", s->off);
	say(p, why, p->check->dry ? NULL : "dropped; they are fetched again when they are needed");
}

/* What of the span is the tar's goes on to it; a tar that does not parse is not what it was: the digest says that. */
static void check_tar(struct pass *p, size_t size, uint64_t off)
{
	uint64_t end = span_table_plain_size(layer_store_spans(p->layer));
	size_t n = off >= end ? 0 : end - off < size ? (size_t)(end - off) : size;
	char text[REPORT_TEXT_SIZE], *outer;

	hash_update(p->tar_hash, p->piece, n);
	p->tar_size += n;
	outer = report_capture(text);
	if (p->builder && layer_builder_feed(p->builder, p->tar, p->piece, n) < 0)
		layer_builder_free(&p->builder);
	report_capture_again(outer);
}

/* -EAGAIN: it was evicted meanwhile. */
static int read_span(struct pass *p, const struct span *s, struct digest *ret)
{
	_cleanup_(hash_free) struct hash *h = NULL;
	int r = hash_new(DIGEST_SHA256, &h);

	for (uint64_t off = 0; r == 0 && off < s->size;) {
		size_t n = s->size - off < SPAN_SIZE ? (size_t)(s->size - off) : SPAN_SIZE;

		r = layer_store_read(p->layer, p->piece, n, s->off + off);
		if (r < 0)
			return r;
		hash_update(h, p->piece, n);
		if (p->whole)
			check_tar(p, n, s->off + off);
		off += n;
	}
	if (r == 0)
		hash_finish(h, ret);
	return r;
}

static void check_span(struct pass *p, const struct span *s)
{
	const bool has_digest = s->kind != SPAN_NONE && s->digest_of == SPAN_DIGEST_PLAIN;
	struct digest got;
	int r;

	if (!layer_store_present(p->layer, s->off, s->size)) {
		p->whole = false;
		return;
	}
	r = read_span(p, s, &got);
	if (r == -EAGAIN) {
		p->whole = false;
		return;
	}
	p->check->bytes += s->size;
	if (r < 0 || (has_digest && !digest_equal(&got, &s->digest)))
		say_wrong(p, s);
}

static bool only_zeros(struct pass *p, uint64_t off, uint64_t end)
{
	while (off < end) {
		size_t n = end - off < SPAN_SIZE ? (size_t)(end - off) : SPAN_SIZE;

		if (layer_store_read(p->layer, p->piece, n, off) < 0 || p->piece[0] != 0 ||
		    memcmp(p->piece, p->piece + 1, n - 1) != 0)
			return false;
		off += n;
	}
	return true;
}

/* Between the spans of a foreign table are zeros that nobody fetches. */
static void check_gap(struct pass *p, uint64_t off, uint64_t end)
{
	if (off < end && !p->bad && layer_store_present(p->layer, off, end - off) && !only_zeros(p, off, end) &&
	    layer_store_present(p->layer, off, end - off)) /* not evicted meanwhile */
		say_bad(p, "bytes between its files are not zeros");
}

static int check_spans(struct pass *p)
{
	const struct span_table *t = layer_store_spans(p->layer);
	uint64_t end = 0; /* of the span before */

	for (size_t i = 0; i < span_table_count(t); i++) {
		struct span s;

		check_tell(p->check);
		span_table_get(t, i, &s);
		if (span_table_is_foreign(t))
			check_gap(p, end, s.off);
		end = s.off + s.size;
		if (s.kind != SPAN_COPY)
			check_span(p, &s);
	}
	if (span_table_is_foreign(t))
		check_gap(p, end, layer_store_size(p->layer));
	return 0;
}

static bool equal_copy(struct pass *p, const struct layer_copy *copy)
{
	uint64_t half = SPAN_SIZE / 2, done = 0;

	while (done < copy->size) {
		size_t n = copy->size - done < half ? (size_t)(copy->size - done) : (size_t)half;

		if (layer_store_read(p->layer, p->piece, n, copy->from_off + done) < 0 ||
		    layer_store_read(p->layer, p->piece + half, n, copy->to_off + done) < 0 ||
		    memcmp(p->piece, p->piece + half, n) != 0)
			return false;
		done += n;
	}
	return true;
}

/* Behind the tar are the expanded sparse members: copies of its bytes, ascending, and zeros between them. */
static bool equal_sparse(struct pass *p)
{
	uint64_t at = p->tar_size, cookie = 0;
	struct layer_copy copy;

	while (layer_builder_copy(p->builder, &cookie, &copy) > 0) {
		if (!only_zeros(p, at, copy.to_off) || !equal_copy(p, &copy))
			return false;
		at = copy.to_off + copy.size;
	}
	return only_zeros(p, at, layer_store_size(p->layer));
}

static bool equal_index(struct pass *p, uint64_t size)
{
	_cleanup_(fd_close) int fd = beneath_cache_open(p->dir_fd, "index.erofs", O_RDONLY, 0);
	_cleanup_(fd_free_memory) uint8_t *made = calloc(1, size);

	if (!made || fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
		return true; /* not compared: it would not be the layer's fault */
	if (fd < 0)
		return false;
	layer_builder_render(p->builder, made);
	for (uint64_t off = 0; off < size;) {
		size_t n = size - off < SPAN_SIZE ? (size_t)(size - off) : SPAN_SIZE;

		if (fd_pread_full(fd, p->piece, n, off) < 0 || memcmp(p->piece, made + off, n) != 0)
			return false;
		off += n;
	}
	return lseek(fd, 0, SEEK_END) == (off_t)size;
}

/* What only a complete layer shows: the same tar has the same diffID, index and expanded sparse members. */
static void check_whole(struct pass *p)
{
	uint64_t index_size, layer_file_size;
	char text[REPORT_TEXT_SIZE], *outer, made[LAYER_KEY_SIZE];
	struct digest diff_id;
	bool parsed;

	hash_finish(p->tar_hash, &diff_id);
	stream_key(&diff_id, made);
	if (strcmp(made, p->want) != 0) {
		p->wrong[0] = (struct layer_range){0, layer_store_size(p->layer)};
		p->n_wrong = 1;
		say_bad(p, "its bytes do not match its diffID");
		return;
	}
	outer = report_capture(text);
	parsed = p->builder && tar_finish(p->tar) == 0 &&
		 layer_builder_finish(p->builder, p->tar_size, &index_size, &layer_file_size) == 0;
	report_capture_again(outer);
	/* What is evicted meanwhile cannot be compared, and is not wrong. */
	if (parsed && layer_file_size == layer_store_size(p->layer) && equal_index(p, index_size) && equal_sparse(p))
		return;
	if (layer_store_bytes_present(p->layer) == layer_store_size(p->layer))
		say_bad(p, "its index, or a sparse file of it, is not what its bytes give");
}

static int repair(struct pass *p)
{
	struct context *c = p->check->context;
	const char *key = layer_store_key(p->layer);
	char text[REPORT_TEXT_SIZE], *outer;
	uint32_t number;
	int r = 0;

	if (p->check->dry || (!p->bad && p->n_wrong == 0))
		return 0;
	if (p->n_wrong)
		r = evict_ranges(c, p->layer, p->wrong, p->n_wrong);
	if (p->bad || !evict_has_way_back(c, key)) {
		outer = report_capture(text);
		layer_store_mark_bad(c->store, key);
		report_capture_again(outer);
	}
	if (number_table_find_layer(c->numbers, key, &number) == 0)
		context_tell_server(c, NEED_DROP_PAGES, number);
	return r < 0 ? fail(-r, "what is wrong of layer %s cannot be dropped: %s", key, strerror(-r)) : 0;
}

static int look(struct pass *p, const char *key)
{
	int r = open_layer(p->check, key, p);

	if (r < 0)
		return r;
	check_digests(p);
	r = p->bad ? 0 : begin_whole(p);
	if (r == 0 && !p->bad)
		r = check_spans(p);
	if (r == 0 && !p->bad && p->whole)
		check_whole(p);
	return r;
}

int check_layer(struct check *c, const char *key)
{
	_cleanup_(pass_free) struct pass p = {.check = c, .dir_fd = -1};
	int r;

	if (strncmp(key, "tar-", 4) == 0)
		snprintf(p.want, sizeof(p.want), "%s", key);
	r = look(&p, key);
	if (r == -ENOENT)
		return 0; /* a problem already, or removed meanwhile */
	return r < 0 ? r : repair(&p);
}

int check_layer_is(struct context *c, const char *key, const struct digest *diff_id)
{
	_cleanup_(json_field_free) struct json_object *problems = json_object_new_array();
	struct check check = {.context = c, .problems = problems, .told = INT64_MAX / 2 /* tells nobody */};
	_cleanup_(pass_free) struct pass p = {.check = &check, .dir_fd = -1};
	int r;

	stream_key(diff_id, p.want);
	r = problems ? look(&p, key) : -ENOMEM;
	if (r < 0)
		return r;
	if (p.bad) { /* none of it is to be believed */
		p.wrong[0] = (struct layer_range){0, layer_store_size(p.layer)};
		p.n_wrong = 1;
	}
	r = repair(&p);
	if (r < 0)
		return r;
	if (p.bad)
		return p.whole ? -EBADMSG : -EIO;
	return p.whole ? 0 : -EAGAIN;
}
