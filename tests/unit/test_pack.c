/* pack gives back its pages in the order they were added, and refuses heads that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/limits.h"
#include "format/pack.h"

#define FRAME_PAGES (PACK_FRAME_SIZE / PACK_PAGE)
#define N_PAGES (3 * FRAME_PAGES + 8)

/* The page that comes at position `i`: runs of three, and the layers take turns. */
static void place_of(uint32_t i, uint32_t *layer, uint64_t *page)
{
	*layer = i / 3 % 2;
	*page = 10 * (uint64_t)(i / 3) + i % 3;
}

static void fill_page(uint32_t i, uint8_t *page)
{
	for (uint32_t k = 0; k < PACK_PAGE; k++)
		page[k] = (uint8_t)(i * 7 + k / 16);
}

static void make(struct bytes *ret, size_t *ret_head_size)
{
	_cleanup_(pack_builder_free) struct pack_builder *b = NULL;
	struct digest layers[2] = {{.algorithm = DIGEST_SHA256, .bytes = {1}}, {.algorithm = DIGEST_SHA256, .bytes = {2}}};
	uint8_t data[PACK_PAGE];

	assert_int_equal(pack_builder_new(layers, 2, &b), 0);
	for (uint32_t i = 0; i < N_PAGES; i++) {
		uint32_t layer;
		uint64_t page;

		place_of(i, &layer, &page);
		fill_page(i, data);
		assert_int_equal(pack_builder_add(b, layer, page, data), 0);
	}
	assert_int_equal(pack_builder_finish(b, ret, ret_head_size), 0);
}

/* The place of that page in the order of first touch, of `n` from `from` on. */
static uint32_t find(uint32_t from, uint32_t n, uint32_t layer, uint64_t page)
{
	for (uint32_t i = from; i < from + n; i++) {
		uint32_t l;
		uint64_t p;

		place_of(i, &l, &p);
		if (l == layer && p == page)
			return i;
	}
	fail_msg("frame has page %u:%llu", layer, (unsigned long long)page);
	return 0;
}

/* Pages *i to *i + n_pages are in the frame, as few runs in the order of their layers. */
static void check_frame(const struct pack_frame *f, const struct bytes *b, uint32_t *i)
{
	_cleanup_(fd_free_memory) uint8_t *plain = malloc(PACK_FRAME_SIZE);
	uint8_t want[PACK_PAGE];
	size_t at = 0;

	assert_int_equal(pack_frame_open(f, b->data + f->off, f->packed_size, plain), 0);
	for (uint32_t k = 0; k < f->n_runs; k++) {
		const struct pack_run *run = &f->runs[k], *before = run - 1;

		if (k > 0)
			assert_true(before->layer < run->layer ||
				    (before->layer == run->layer && before->first + before->n < run->first));
		for (uint32_t n = 0; n < run->n; n++, at += PACK_PAGE) {
			fill_page(find(*i, f->n_pages, run->layer, run->first + n), want);
			assert_memory_equal(plain + at, want, PACK_PAGE);
		}
	}
	assert_int_equal(at, f->n_pages * (size_t)PACK_PAGE);
	*i += f->n_pages;
}

static void gives_back_its_pages_in_order(void **state)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	_cleanup_(pack_free) struct pack *p = NULL;
	size_t head_size;
	uint32_t n = 0;

	(void)state;
	make(&b, &head_size);
	assert_int_equal(pack_parse(b.data, head_size, b.size, &p), 0);
	assert_int_equal(pack_n_layers(p), 2);
	assert_int_equal(pack_layer(p, 1)->bytes[0], 2);
	assert_int_equal(pack_n_frames(p), 4);
	for (size_t i = 0; i < pack_n_frames(p); i++) {
		struct pack_frame f;

		pack_frame_get(p, i, &f);
		check_frame(&f, &b, &n);
	}
	assert_int_equal(n, N_PAGES);
}

static void the_same_pages_make_the_same_bytes(void **state)
{
	_cleanup_(bytes_free) struct bytes a = {0}, b = {0};
	size_t a_head, b_head;

	(void)state;
	make(&a, &a_head);
	make(&b, &b_head);
	assert_int_equal(a.size, b.size);
	assert_memory_equal(a.data, b.data, a.size);
	/* Its head with its size before it is the corpus's "good": LAZYRUN_CORPUS=DIR writes it. */
	if (getenv("LAZYRUN_CORPUS")) {
		uint32_t head = (uint32_t)a_head;
		char path[512];
		FILE *f;

		snprintf(path, sizeof(path), "%s/good", getenv("LAZYRUN_CORPUS"));
		f = fopen(path, "w");
		assert_non_null(f);
		fwrite(&head, sizeof(head), 1, f);
		fwrite(a.data, a.size, 1, f);
		fclose(f);
	}
}

static void an_empty_pack_is_one(void **state)
{
	_cleanup_(pack_builder_free) struct pack_builder *builder = NULL;
	_cleanup_(bytes_free) struct bytes b = {0};
	_cleanup_(pack_free) struct pack *p = NULL;
	size_t head_size;

	(void)state;
	assert_int_equal(pack_builder_new(NULL, 0, &builder), 0);
	assert_int_equal(pack_builder_finish(builder, &b, &head_size), 0);
	assert_int_equal(pack_parse(b.data, head_size, b.size, &p), 0);
	assert_int_equal(pack_n_frames(p), 0);
}

static void refuses_heads_that_lie(void **state)
{
	static const struct {
		size_t off;
		uint8_t size, value[8];
	} cases[] = {
		{0, 1, "x"},
		{8, 4, {1}},		       /* fewer layers than there are */
		{8, 4, {0xff, 0xff}},
		{12, 4, {5}},		       /* frames */
		{12, 4, {0xff, 0xff, 0xff, 0xff}},
		{16, 4, {0xff, 0xff, 0xff, 0xff}},
		{20, 4, {1}},
		{88, 4, {0}},		       /* packed size of the first frame */
		{88, 4, {0xff, 0xff, 0xff}},
		{92, 4, {1, 1}},		       /* pages of it */
		{92, 4, {0}},
		{96, 4, {0}},		       /* runs of it */
		{96, 4, {0xff, 0xff}},
		{100, 4, {1}},
	};
	struct pack *p = NULL;

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		_cleanup_(bytes_free) struct bytes b = {0};
		size_t head_size;
		int r;

		make(&b, &head_size);
		memcpy(b.data + cases[k].off, cases[k].value, cases[k].size);
		r = pack_parse(b.data, head_size, b.size, &p);
		if (r != -EBADMSG && r != -EFBIG)
			fail_msg("case %zu is accepted", k);
	}
}

static void refuses_what_is_cut(void **state)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	struct pack *p = NULL;
	size_t head_size;

	(void)state;
	make(&b, &head_size);
	for (size_t size = 0; size < head_size; size++)
		assert_int_equal(pack_parse(b.data, size, b.size, &p), -EBADMSG);
	assert_int_equal(pack_parse(b.data, head_size, b.size - 1, &p), -EBADMSG);
	assert_int_equal(pack_parse(b.data, head_size, b.size + 1, &p), -EBADMSG);
}

static void refuses_a_frame_that_breaks_its_digest(void **state)
{
	_cleanup_(fd_free_memory) uint8_t *plain = malloc(PACK_FRAME_SIZE);
	_cleanup_(bytes_free) struct bytes b = {0};
	_cleanup_(pack_free) struct pack *p = NULL;
	struct pack_frame f;
	size_t head_size;

	(void)state;
	make(&b, &head_size);
	assert_int_equal(pack_parse(b.data, head_size, b.size, &p), 0);
	pack_frame_get(p, 1, &f);
	assert_int_equal(pack_frame_open(&f, b.data + f.off, f.packed_size - 1, plain), -EBADMSG);
	b.data[f.off + f.packed_size / 2] ^= 1;
	assert_int_equal(pack_frame_open(&f, b.data + f.off, f.packed_size, plain), -EBADMSG);
}

/* A head of so many frames, each of one page and one packed byte, as pack.c writes it. */
static int parse_frames(uint32_t n)
{
	_cleanup_(bytes_free) struct bytes head = {0};
	const uint32_t counts[4] = {htole32(1), htole32(n), htole32(n), 0}, frame[4] = {htole32(1), htole32(1), htole32(1), 0};
	const uint8_t digest[32] = {0};
	struct pack *p = NULL;
	int r = bytes_append(&head, "lazyPak1", 8);

	r = r < 0 ? r : bytes_append(&head, counts, sizeof(counts));
	r = r < 0 ? r : bytes_append(&head, digest, sizeof(digest));
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		r = bytes_append(&head, frame, sizeof(frame));
		r = r < 0 ? r : bytes_append(&head, digest, sizeof(digest));
	}
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		const uint32_t run[4] = {0, htole32(1), htole32(i), 0};

		r = bytes_append(&head, run, sizeof(run));
	}
	assert_int_equal(r, 0);
	r = pack_parse(head.data, head.size, head.size + n, &p);
	pack_free(&p);
	return r;
}

/* LIMIT_PACK_FRAMES */
static void frames_have_a_limit(void **state)
{
	(void)state;
	assert_int_equal(parse_frames(LIMIT_PACK_FRAMES - 1), 0);
	assert_int_equal(parse_frames(LIMIT_PACK_FRAMES), 0);
	assert_int_equal(parse_frames(LIMIT_PACK_FRAMES + 1), -EFBIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_back_its_pages_in_order),
		cmocka_unit_test(the_same_pages_make_the_same_bytes),
		cmocka_unit_test(an_empty_pack_is_one),
		cmocka_unit_test(refuses_heads_that_lie),
		cmocka_unit_test(refuses_what_is_cut),
		cmocka_unit_test(refuses_a_frame_that_breaks_its_digest),
		cmocka_unit_test(frames_have_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
