/* limits: what lies at a limit is taken, what lies above is refused with a reason; those that have no better place. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h" /* before cmocka.h, which makes fail() a macro */
#include "format/decoder.h"
#include "format/erofs_write.h"
#include "format/layer_builder.h"
#include "format/manifest.h"
#include "format/span_table.h"
#include "format/sparse_map.h"

#include <cmocka.h>

static char said[REPORT_TEXT_SIZE];

/* Gathers what a call says. */
#define TRY(call)                                                                                                      \
	({                                                                                                             \
		int result_;                                                                                           \
		report_forget();                                                                                       \
		report_capture(said);                                                                                  \
		result_ = (call);                                                                                      \
		report_capture(NULL);                                                                                  \
		result_;                                                                                               \
	})

static int parse_depth(size_t depth)
{
	struct json_object *o = NULL;
	char text[2 * LIMIT_JSON_DEPTH + 16];
	int r;

	memset(text, '[', depth);
	memset(text + depth, ']', depth);
	r = json_field_parse(text, 2 * depth, &o);
	json_field_free(&o);
	return r;
}

/* LIMIT_JSON_DEPTH */
static void json_depth(void **state)
{
	(void)state;
	assert_int_equal(parse_depth(LIMIT_JSON_DEPTH - 1), 0);
	assert_int_equal(parse_depth(LIMIT_JSON_DEPTH), 0);
	assert_int_equal(parse_depth(LIMIT_JSON_DEPTH + 1), -EBADMSG);
}

static int parse_media_type(size_t size)
{
	static const char digest[] = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	struct manifest *m = NULL;
	char type[LIMIT_MEDIA_TYPE_SIZE + 16], text[2048];
	int n, r;

	memset(type, 'x', size);
	memcpy(type, "a/", 2);
	type[size] = '\0';
	n = snprintf(text, sizeof(text),
		     "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":2}]}", type, digest);
	r = TRY(manifest_parse(text, (size_t)n, "application/vnd.oci.image.index.v1+json", "image", &m));
	manifest_free(&m);
	return r;
}

/* LIMIT_MEDIA_TYPE_SIZE */
static void media_type(void **state)
{
	(void)state;
	assert_int_equal(parse_media_type(LIMIT_MEDIA_TYPE_SIZE - 1), 0);
	assert_int_equal(parse_media_type(LIMIT_MEDIA_TYPE_SIZE), 0);
	assert_true(parse_media_type(LIMIT_MEDIA_TYPE_SIZE + 1) < 0);
	assert_non_null(strstr(said, "mediaType"));
}

/* An empty frame whose header asks for a window of 2^log bytes. */
static int decode_window(unsigned int log)
{
	const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0, (uint8_t)((log - 10) << 3), 1, 0, 0};
	struct decoder *d;
	uint8_t out[16];
	size_t used, made;
	int r;

	assert_int_equal(decoder_new(DECODER_ZSTD, &d), 0);
	r = TRY(decoder_run(d, frame, sizeof(frame), &used, out, sizeof(out), &made));
	if (r == 0)
		r = TRY(decoder_finish(d));
	decoder_free(&d);
	return r;
}

/* LIMIT_ZSTD_WINDOW_LOG */
static void zstd_window(void **state)
{
	(void)state;
	assert_int_equal(decode_window(LIMIT_ZSTD_WINDOW_LOG - 1), 0);
	assert_int_equal(decode_window(LIMIT_ZSTD_WINDOW_LOG), 0);
	assert_true(decode_window(LIMIT_ZSTD_WINDOW_LOG + 1) < 0);
	assert_non_null(strstr(said, "128 MiB"));
}

/* A table of one span, with a number of `bytes` bytes written over at `at` of the span. */
static int load_span(size_t at, size_t bytes, uint64_t number)
{
	const struct span good = {.size = 4096, .kind = SPAN_GZIP, .packed_off = 100, .packed_size = 50, .window_size = 1,
				  .digest = {.algorithm = DIGEST_SHA256}};
	struct span_table_builder b = {.foreign = true};
	struct span_table *t = NULL;
	struct bytes out = {0};
	int r = span_table_add(&b, &good);

	assert_int_equal(r, 0);
	assert_int_equal(span_table_finish(&b, &out), 0);
	number = htole64(number);
	memcpy(out.data + 32 + at, &number, bytes);
	r = span_table_load(out.data, out.size, UINT64_C(1) << 30, &t);
	span_table_free(&t);
	bytes_free(&out);
	return r;
}

/* LIMIT_SPAN_SIZE: plain, packed, and what is dropped before; LIMIT_WINDOW_SIZE */
static void spans(void **state)
{
	(void)state;
	for (int above = -1; above <= 1; above++) {
		for (size_t at = 8; at <= 32; at += at == 8 ? 16 : 8)
			assert_int_equal(load_span(at, 8, (uint64_t)(LIMIT_SPAN_SIZE + above)) == 0, above <= 0);
		assert_int_equal(load_span(48, 4, (uint64_t)(LIMIT_WINDOW_SIZE + above)) == 0, above <= 0);
	}
}

/* LIMIT_SPARSE_ENTRIES */
static void sparse_entries(void **state)
{
	struct sparse_map m = {0};
	int r = 0;

	(void)state;
	for (uint64_t i = 0; r == 0 && i < LIMIT_SPARSE_ENTRIES; i++) {
		r = sparse_map_offset(&m, 2 * i);
		if (r == 0)
			r = sparse_map_size(&m, 1);
	}
	assert_int_equal(r, 0);
	assert_int_equal(m.n_entries, LIMIT_SPARSE_ENTRIES);
	r = sparse_map_offset(&m, 4 * LIMIT_SPARSE_ENTRIES);
	if (r == 0)
		r = sparse_map_size(&m, 1);
	assert_true(r < 0);
	sparse_map_free(&m);
}

static int add_xattrs(size_t total)
{
	static char value[LIMIT_XATTR_VALUE_SIZE];
	struct tar_xattr xattrs[4] = {{"user.a", value, 0}, {"user.b", value, 0}, {"user.c", value, 0}};
	struct tar_member m = {.type = TAR_FILE, .path = "file", .link = "", .mode = 0644, .xattrs = xattrs, .n_xattrs = 3};
	_cleanup_(layer_builder_free) struct layer_builder *b = NULL;
	uint64_t index_size, file_size;
	size_t left = total - 3 * 5; /* on disk: a head of 4 bytes and the name without "user." */
	int r = layer_builder_new(&b);

	for (size_t i = 0; i < 3; i++) {
		xattrs[i].value_size = left < 60000 ? left : 60000;
		left -= xattrs[i].value_size;
	}
	if (r == 0)
		r = TRY(layer_builder_add(b, &m));
	return r < 0 ? r : TRY(layer_builder_finish(b, 1024, &index_size, &file_size));
}

/* LIMIT_XATTRS_SIZE; each is rounded up to 4 bytes, so the line is not sharp to the byte */
static void xattrs(void **state)
{
	(void)state;
	assert_int_equal(add_xattrs(LIMIT_XATTRS_SIZE - 16), 0);
	assert_int_equal(add_xattrs(LIMIT_XATTRS_SIZE - 6), 0);
	assert_int_equal(add_xattrs(LIMIT_XATTRS_SIZE + 1), -EFBIG);
	assert_non_null(strstr(said, "xattrs"));
}

static int add_files(struct layer_builder *b, const char *dir, uint32_t from, uint32_t to)
{
	char path[64];
	/* so far behind in the tar that memory is not the limit */
	struct tar_member m = {.type = TAR_FILE, .path = path, .link = "", .mode = 0644, .body_off = UINT64_C(4) << 30};
	int r = 0;

	for (uint32_t i = from; r == 0 && i < to; i++) {
		snprintf(path, sizeof(path), "%s/%x", dir, i);
		r = TRY(layer_builder_add(b, &m));
	}
	return r;
}

/* LIMIT_DIRECTORY_ENTRIES, LIMIT_LAYER_ENTRIES */
static void many_files(void **state)
{
	_cleanup_(layer_builder_free) struct layer_builder *b = NULL;
	const uint32_t in_a = LIMIT_DIRECTORY_ENTRIES, rest = LIMIT_LAYER_ENTRIES - in_a - 3; /* and two directories, and one refused */

	(void)state;
	assert_int_equal(layer_builder_new(&b), 0);
	assert_int_equal(add_files(b, "a", 0, in_a), 0);
	assert_int_equal(add_files(b, "a", in_a, in_a + 1), -EFBIG);
	assert_non_null(strstr(said, "directory"));
	assert_int_equal(add_files(b, "b", 0, rest), 0);
	assert_int_equal(add_files(b, "b", rest, rest + 8), -EFBIG);
	assert_non_null(strstr(said, "its layer has more than"));
}

/* LIMIT_LAYER_BUILDER_FREE, LIMIT_LAYER_BUILDER_RATIO: names may take memory by the size of their tar. */
static void memory(void **state)
{
	_cleanup_(layer_builder_free) struct layer_builder *b = NULL;
	char path[LIMIT_NAME_SIZE + 1];
	struct tar_member m = {.type = TAR_FILE, .path = path, .link = "", .mode = 0644};
	uint32_t n, more = 0;
	int r = 0;

	(void)state;
	memset(path, 'x', LIMIT_NAME_SIZE);
	path[LIMIT_NAME_SIZE] = '\0';
	assert_int_equal(layer_builder_new(&b), 0);
	for (n = 0; r == 0; n++) {
		snprintf(path, 9, "%08x", n);
		path[8] = 'x';
		r = TRY(layer_builder_add(b, &m));
	}
	assert_int_equal(r, -EFBIG);
	assert_non_null(strstr(said, "names and xattrs"));
	assert_in_range(n, LIMIT_LAYER_BUILDER_FREE / 1024, LIMIT_LAYER_BUILDER_FREE / LIMIT_NAME_SIZE);
	m.body_off = 8 << 20; /* now 64 MiB more are allowed */
	for (r = 0; r == 0; more++) {
		snprintf(path, 9, "%08x", n + more);
		path[8] = 'x';
		r = TRY(layer_builder_add(b, &m));
	}
	assert_int_equal(r, -EFBIG);
	assert_in_range(more, n / 4 - n / 50, n / 4 + n / 50);
}

/* LIMIT_LAYER_BUILDER_SIZE: what no size of a tar allows more than */
static void memory_of_large_layers(void **state)
{
	const uint64_t line = (LIMIT_LAYER_BUILDER_SIZE - LIMIT_LAYER_BUILDER_FREE) / LIMIT_LAYER_BUILDER_RATIO;

	(void)state;
	assert_int_equal(layer_builder_allowed(0), LIMIT_LAYER_BUILDER_FREE);
	assert_int_equal(layer_builder_allowed(line - 1), LIMIT_LAYER_BUILDER_SIZE - LIMIT_LAYER_BUILDER_RATIO);
	assert_int_equal(layer_builder_allowed(line), LIMIT_LAYER_BUILDER_SIZE);
	assert_int_equal(layer_builder_allowed(line + 1), LIMIT_LAYER_BUILDER_SIZE);
	assert_int_equal(layer_builder_allowed(UINT64_MAX), LIMIT_LAYER_BUILDER_SIZE);
}

/* Lays out files with that many bytes of xattrs in all, which layout never reads. */
static int lay_out(uint64_t xattrs, uint64_t *ret_size)
{
	struct layer_tree *t = layer_tree_new();
	struct erofs_layout l;
	int r;

	t->root->dir.parent = t->root;
	for (char name = 'a'; xattrs > 0; name++) {
		struct layer_node *node = layer_tree_node(t, S_IFREG | 0644);

		node->xattrs_size = (uint32_t)(xattrs < UINT32_C(1) << 31 ? xattrs : UINT32_C(1) << 31);
		xattrs -= node->xattrs_size;
		layer_tree_enter(t, t->root, &name, 1)->node = node;
	}
	r = TRY(erofs_write_layout(t, 1024, &l));
	if (r == 0)
		*ret_size = l.index_size;
	layer_tree_free(&t);
	return r;
}

/* LIMIT_LAYER_INDEX_SIZE, of what is written; of what is read: test_erofs_read */
static void layer_index(void **state)
{
	uint64_t size, xattrs = LIMIT_LAYER_INDEX_SIZE - (1 << 20);

	(void)state;
	assert_int_equal(lay_out(xattrs, &size), 0);
	xattrs += LIMIT_LAYER_INDEX_SIZE - size;
	assert_int_equal(lay_out(xattrs - 4096, &size), 0);
	assert_int_equal(size, LIMIT_LAYER_INDEX_SIZE - 4096);
	assert_int_equal(lay_out(xattrs, &size), 0);
	assert_int_equal(size, LIMIT_LAYER_INDEX_SIZE);
	assert_int_equal(lay_out(xattrs + 4096, &size), -EFBIG);
	assert_non_null(strstr(said, "8589934592"));
	assert_int_equal(lay_out(2 * xattrs, &size), -EFBIG);
}

/* LIMIT_LAYER_FRAGMENTS: of all sparse members together */
static void fragments(void **state)
{
	_cleanup_(layer_builder_free) struct layer_builder *b = NULL;
	struct tar_fragment *f = calloc(LIMIT_SPARSE_ENTRIES, sizeof(*f));
	char path[32];
	struct tar_member m = {.type = TAR_FILE,
			       .path = path,
			       .link = "",
			       .mode = 0644,
			       .size = (uint64_t)LIMIT_SPARSE_ENTRIES * 8192,
			       .sparse = true,
			       .fragments = f,
			       .n_fragments = LIMIT_SPARSE_ENTRIES};

	(void)state;
	assert_non_null(f);
	for (uint64_t i = 0; i < LIMIT_SPARSE_ENTRIES; i++)
		f[i] = (struct tar_fragment){i * 8192, 512, 1024 + 512 * i};
	assert_int_equal(layer_builder_new(&b), 0);
	for (uint32_t i = 0; i < LIMIT_LAYER_FRAGMENTS / LIMIT_SPARSE_ENTRIES; i++) {
		snprintf(path, sizeof(path), "file%u", i);
		assert_int_equal(TRY(layer_builder_add(b, &m)), 0);
	}
	snprintf(path, sizeof(path), "one more");
	m.n_fragments = 1;
	assert_int_equal(TRY(layer_builder_add(b, &m)), -EFBIG);
	assert_non_null(strstr(said, "parts"));
	free(f);
}

/* LIMIT_EXPANSION, LIMIT_EXPANSION_FREE */
static void expansion(void **state)
{
	const uint64_t packed = LIMIT_EXPANSION_FREE / 64, line = packed * LIMIT_EXPANSION;

	(void)state;
	assert_false(decoder_is_bomb(packed, line - 1));
	assert_false(decoder_is_bomb(packed, line));
	assert_true(decoder_is_bomb(packed, line + 1));
	assert_false(decoder_is_bomb(0, LIMIT_EXPANSION_FREE - 1));
	assert_false(decoder_is_bomb(0, LIMIT_EXPANSION_FREE));
	assert_true(decoder_is_bomb(0, LIMIT_EXPANSION_FREE + 1));
	assert_false(decoder_is_bomb(UINT64_MAX, UINT64_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_depth), cmocka_unit_test(media_type), cmocka_unit_test(zstd_window),
		cmocka_unit_test(spans),      cmocka_unit_test(sparse_entries), cmocka_unit_test(xattrs),
		cmocka_unit_test(many_files), cmocka_unit_test(memory),         cmocka_unit_test(fragments),
		cmocka_unit_test(expansion),  cmocka_unit_test(memory_of_large_layers), cmocka_unit_test(layer_index),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
