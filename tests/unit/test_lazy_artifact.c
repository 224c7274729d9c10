/* An artifact's manifest says what was put in, always in the same bytes; wrong ones are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h" /* before cmocka.h, which makes fail() a macro */
#include "format/lazy_artifact.h"
#include "format/profile.h"

#include <cmocka.h>

static struct digest digest_of(uint8_t n)
{
	return (struct digest){.algorithm = DIGEST_SHA256, .bytes = {n}};
}

static struct lazy_artifact_blob blob_of(uint8_t n)
{
	return (struct lazy_artifact_blob){digest_of(n), 100u + n};
}

static void make(struct bytes *ret)
{
	struct lazy_artifact_layer layers[2] = {
		{.layer = digest_of(1), .index = blob_of(11), .spans = blob_of(12), .windows = blob_of(13)},
		{.layer = digest_of(2), .index = blob_of(21), .spans = blob_of(22)}};
	char numpy[] = "[\"python3\",\"-c\",\"import numpy\"]", usual[] = "[\"serve\"]";
	struct lazy_artifact_pack packs[2] = {
		{.blob = blob_of(31), .head = digest_of(32), .head_size = 40, .command = numpy},
		{.blob = blob_of(41), .head = digest_of(42), .head_size = 41, .command = usual}};
	struct lazy_artifact_profile profiles[2] = {{blob_of(51), digest_of(52)}, {blob_of(61), digest_of(62)}};
	struct lazy_artifact a = {.subject = digest_of(9),
				  .subject_size = 1234,
				  .subject_type = "application/vnd.docker.distribution.manifest.v2+json",
				  .created = "2024-01-02T03:04:05Z",
				  .layers = layers,
				  .n_layers = 2,
				  .packs = packs,
				  .n_packs = 2,
				  .profiles = profiles,
				  .n_profiles = 2};

	assert_int_equal(lazy_artifact_build(&a, ret), 0);
}

static void gives_back_what_was_put_in(void **state)
{
	_cleanup_(lazy_artifact_free) struct lazy_artifact *a = NULL;
	_cleanup_(bytes_free) struct bytes b = {0}, again = {0};
	struct digest second = digest_of(2), other = digest_of(3), command = digest_of(62);

	(void)state;
	make(&b);
	assert_int_equal(lazy_artifact_parse(b.data, b.size, "it", &a), 0);
	assert_int_equal(a->n_layers, 2);
	assert_int_equal(a->subject.bytes[0], 9);
	assert_int_equal(a->subject_size, 1234);
	assert_string_equal(a->created, "2024-01-02T03:04:05Z");
	assert_int_equal(lazy_artifact_layer(a, &second)->spans.size, 122);
	assert_int_equal(lazy_artifact_layer(a, &second)->windows.digest.algorithm, DIGEST_NONE);
	assert_null(lazy_artifact_layer(a, &other));
	assert_int_equal(a->packs[0].head_size, 40);
	assert_int_equal(lazy_artifact_profile(a, &command)->blob.size, 161);
	assert_null(lazy_artifact_profile(a, &other));
	assert_int_equal(lazy_artifact_build(a, &again), 0);
	assert_int_equal(b.size, again.size);
	assert_memory_equal(b.data, again.data, b.size);
}

static void chooses_by_command_then_program_then_the_images_own(void **state)
{
	static const struct {
		const char *command, *fallback;
		int want; /* -1: none */
	} cases[] = {
		{"[\"python3\",\"-c\",\"import numpy\"]", NULL, 0},
		{"[\"python3\",\"app.py\"]", "[\"serve\"]", 0},
		{"[\"python\",\"app.py\"]", "[\"serve\"]", 1},
		{"[\"serve\"]", "[\"python3\"]", 1},
		{"[\"sh\"]", "[\"python3\"]", -1},
		{NULL, "[\"serve\"]", 1},
		{NULL, NULL, -1},
		{"[]", NULL, -1},
	};
	_cleanup_(lazy_artifact_free) struct lazy_artifact *a = NULL;
	_cleanup_(bytes_free) struct bytes b = {0};

	(void)state;
	make(&b);
	assert_int_equal(lazy_artifact_parse(b.data, b.size, "it", &a), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_ptr_equal(lazy_artifact_choose(a, cases[i].command, cases[i].fallback),
				 cases[i].want < 0 ? NULL : &a->packs[cases[i].want]);
}

static void a_command_is_one_text(void **state)
{
	char *argv[] = {(char *)"a\"b", (char *)"/x", (char *)"", NULL};
	_cleanup_(bytes_free) struct bytes b = {0};

	(void)state;
	assert_int_equal(lazy_artifact_command(argv, &b), 0);
	assert_string_equal((char *)b.data, "[\"a\\\"b\",\"/x\",\"\"]");
}

/* Replaces the first `from` in the good manifest, all bytes of equal size. */
static void refuses_what_lies(void **state)
{
	static const struct {
		const char *from, *to;
		int want;
	} cases[] = {
		{"vnd.lazyrun.lazy.v1", "vnd.lazyrun.lazy.v2", -EOPNOTSUPP},
		{"\"subject\"", "\"Subject\"", -EBADMSG},
		{"vnd.lazyrun.layer\"", "vnd.lazyrun.Layer\"", -EBADMSG},
		{"\"size\":111", "\"size\":000", -EBADMSG},
		{"\"size\":111", "\"size\":-11", -EBADMSG},
		{"spans.v1+zstd", "spans.v9+zstd", -EBADMSG},	    /* a layer without its span table */
		{"layer-index.v1+zstd", "windows.v1\"    ,\"\":\"", -EBADMSG},
		{"pack.head-size\":\"40\"", "pack.head-size\":\"-4\"", -EBADMSG},
		{"pack.head-size\":\"40\"", "pack.head-size\":\"4x\"", -EBADMSG},
		{"pack.head-size\":\"40\"", "pack.head-size\":\"999\"", -EBADMSG},
		{"pack.head\"", "pack.HEAD\"", -EBADMSG},
		{"[\\\"serve\\\"]", "{\\\"serve\\\"]", -EBADMSG},
		{"[\\\"serve\\\"]", "[12345679]\"", -EBADMSG},
		{"sha256:0b", "sha256:0B", -EBADMSG},
		{"sha256:0b", "sha257:0b", -EBADMSG},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_(lazy_artifact_free) struct lazy_artifact *a = NULL;
		_cleanup_(bytes_free) struct bytes b = {0}, changed = {0};
		char text[REPORT_TEXT_SIZE], *at;
		int r;

		make(&b);
		assert_int_equal(bytes_terminate(&b), 0);
		at = strstr((char *)b.data, cases[i].from);
		assert_non_null(at);
		bytes_append(&changed, b.data, (size_t)(at - (char *)b.data));
		bytes_append(&changed, cases[i].to, strlen(cases[i].to));
		bytes_printf(&changed, "%s", at + strlen(cases[i].from));
		report_capture(text);
		r = lazy_artifact_parse(changed.data, changed.size, "it", &a);
		report_capture(NULL);
		if (r != cases[i].want)
			fail_msg("case %zu gives %d", i, r);
	}
}

static int parse_quietly(const struct bytes *b)
{
	struct lazy_artifact *a = NULL;
	char text[REPORT_TEXT_SIZE];
	int r;

	report_capture(text);
	r = lazy_artifact_parse(b->data, b->size, "it", &a);
	report_capture(NULL);
	lazy_artifact_free(&a);
	return r;
}

/* An artifact with so many start packs, of a command with so many bytes, and the one blob of its layer so large. */
static int try_sizes(size_t n_packs, size_t command_size, uint64_t index, uint64_t spans, uint64_t windows)
{
	struct lazy_artifact_layer layer = {.layer = digest_of(1), .index = {digest_of(2), index}, .spans = {digest_of(3), spans},
					    .windows = {digest_of(4), windows}};
	struct lazy_artifact_pack packs[LIMIT_PACKS + 1];
	_cleanup_(fd_free_memory) char *command = malloc(command_size + 1);
	_cleanup_(bytes_free) struct bytes b = {0};
	struct lazy_artifact a = {.subject = digest_of(9), .subject_size = 1, .subject_type = "a/b", .created = "",
				  .layers = &layer, .n_layers = 1, .packs = packs, .n_packs = n_packs};

	assert_non_null(command);
	memset(command, 'x', command_size);
	memcpy(command, "[\"", 2);
	strcpy(command + command_size - 2, "\"]");
	for (size_t i = 0; i < n_packs; i++)
		packs[i] = (struct lazy_artifact_pack){.blob = blob_of((uint8_t)(10 + i)), .head = digest_of(5), .head_size = 40,
						       .command = command};
	assert_int_equal(lazy_artifact_build(&a, &b), 0);
	return parse_quietly(&b);
}

/* LIMIT_PACKS, LIMIT_COMMAND_SIZE, LIMIT_LAZY_BLOB_SIZE, LIMIT_BLOB_SIZE (windows): below, at and above the line */
static void limits(void **state)
{
	const uint64_t most = LIMIT_LAZY_BLOB_SIZE;

	(void)state;
	for (int above = -1; above <= 1; above++) {
		const int too_large = above > 0 ? -EFBIG : 0;
		const uint64_t size = most + (uint64_t)(int64_t)above;

		assert_int_equal(try_sizes((size_t)((int)LIMIT_PACKS + above), 10, 1, 1, 1), too_large);
		assert_int_equal(try_sizes(1, (size_t)((int)LIMIT_COMMAND_SIZE + above), 1, 1, 1), above > 0 ? -EBADMSG : 0);
		assert_int_equal(try_sizes(0, 10, size, 1, 1), too_large);
		assert_int_equal(try_sizes(0, 10, 1, size, 1), too_large);
		assert_int_equal(try_sizes(0, 10, 1, 1, LIMIT_BLOB_SIZE + (uint64_t)(int64_t)above), too_large);
	}
}

/* The same with so many profiles of so many bytes, of the same command or each of another. */
static int try_profiles(size_t n, uint64_t size, bool same)
{
	struct lazy_artifact_profile profiles[LIMIT_PROFILES + 1];
	_cleanup_(bytes_free) struct bytes b = {0};
	struct lazy_artifact a = {.subject = digest_of(9), .subject_size = 1, .subject_type = "a/b", .created = "",
				  .profiles = profiles, .n_profiles = n};

	for (size_t i = 0; i < n; i++)
		profiles[i] = (struct lazy_artifact_profile){{digest_of(7), size}, digest_of(same ? 1 : (uint8_t)(i + 1))};
	assert_int_equal(lazy_artifact_build(&a, &b), 0);
	return parse_quietly(&b);
}

/* LIMIT_PROFILES and the size that LIMIT_PROFILE_RUNS makes */
static void limits_of_profiles(void **state)
{
	(void)state;
	assert_int_equal(try_profiles(2, 1, true), -EBADMSG);
	for (int above = -1; above <= 1; above++) {
		assert_int_equal(try_profiles((size_t)((int)LIMIT_PROFILES + above), 1, false), above > 0 ? -EFBIG : 0);
		assert_int_equal(try_profiles(1, PROFILE_SIZE_MAX + (uint64_t)(int64_t)above, false), above > 0 ? -EFBIG : 0);
	}
}

/* LIMIT_COMMAND_SIZE: what is recorded */
static void a_command_has_a_limit(void **state)
{
	static char word[LIMIT_COMMAND_SIZE + 2];
	char *argv[] = {word, NULL};

	(void)state;
	for (int above = -1; above <= 1; above++) {
		_cleanup_(bytes_free) struct bytes b = {0};
		size_t size = (size_t)((int)LIMIT_COMMAND_SIZE + above) - 4;

		memset(word, 'x', size);
		word[size] = '\0';
		assert_int_equal(lazy_artifact_command(argv, &b), above > 0 ? -EFBIG : 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_back_what_was_put_in),
		cmocka_unit_test(chooses_by_command_then_program_then_the_images_own),
		cmocka_unit_test(a_command_is_one_text),
		cmocka_unit_test(refuses_what_lies),
		cmocka_unit_test(limits),
		cmocka_unit_test(limits_of_profiles),
		cmocka_unit_test(a_command_has_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
