/* layer_store: appears whole, reads only verified bytes, also while the evictor punches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/report.h"
#include "cache/blob_store.h"
#include "cache/boot.h"
#include "cache/have_synced.h"
#include "cache/layer_new.h"
#include "cache/layer_sources.h"
#include "cache/layer_store.h"
#include "cache/names.h"

#include <cmocka.h> /* last: it has a macro called fail */

#define KEY "tar-0000000000000000000000000000000000000000000000000000000000000001"
#define TAR_SIZE (3u * SPAN_SIZE)

struct fixture {
	char dir[64];
	char path[96];
	struct store *store;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char run[96];

	strcpy(f->dir, "/tmp/lazyrun-store-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/store", f->dir);
	snprintf(run, sizeof(run), "%s/run", f->dir);
	assert_int_equal(store_open(f->path, run, true, &f->store), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	store_free(&f->store);
	assert_int_equal(fd_remove_tree(AT_FDCWD, f->dir), 0);
	free(f);
	return 0;
}

/* One file that fills the "tar" but its first block; every byte of the layer file is 'x'. */
static void make_layer(struct fixture *f)
{
	struct tar_member m = {.type = TAR_FILE,
			       .path = "f",
			       .link = "",
			       .mode = 0644,
			       .size = TAR_SIZE - 512,
			       .body_off = 512};
	struct span_table_builder spans = {0};
	_cleanup_(bytes_free) struct bytes table = {0};
	uint64_t index_size, layer_file_size;
	struct layer_builder *b;
	struct layer_new *n;
	uint8_t *piece = malloc(SPAN_SIZE);
	void *index;

	memset(piece, 'x', SPAN_SIZE);
	assert_int_equal(layer_builder_new(&b), 0);
	assert_int_equal(layer_builder_add(b, &m), 0);
	assert_int_equal(layer_builder_finish(b, TAR_SIZE, &index_size, &layer_file_size), 0);
	assert_int_equal(layer_file_size, TAR_SIZE);
	assert_int_equal(layer_new_open(f->store, &n), 0);
	for (uint64_t off = 0; off < TAR_SIZE; off += SPAN_SIZE) {
		struct span s = {.off = off, .size = SPAN_SIZE, .kind = SPAN_STORED, .packed_off = off, .packed_size = SPAN_SIZE};

		hash_bytes(piece, SPAN_SIZE, &s.digest);
		assert_int_equal(layer_new_write(n, piece, SPAN_SIZE, off), 0);
		assert_int_equal(span_table_add(&spans, &s), 0);
	}
	assert_int_equal(span_table_finish(&spans, &table), 0);
	assert_int_equal(layer_new_index(n, index_size, &index), 0);
	layer_builder_render(b, index);
	assert_int_equal(layer_new_commit(n, KEY, layer_file_size, &table), 0);
	layer_new_free(&n);
	layer_builder_free(&b);
	free(piece);
}

static void appears_whole_and_is_completed(void **state)
{
	struct fixture *f = *state;
	struct layer_store *l;
	char byte;

	assert_int_equal(layer_store_open(f->store, KEY, true, &l), -ENOENT);
	make_layer(f);
	assert_int_equal(layer_store_open(f->store, KEY, true, &l), 0);
	assert_int_equal(layer_store_bytes_present(l), TAR_SIZE);
	assert_int_equal(layer_store_read(l, &byte, 1, TAR_SIZE - 1), 0);
	assert_int_equal(byte, 'x');
	assert_int_equal(layer_store_read(l, &byte, 1, TAR_SIZE), -EBADMSG);
	assert_int_equal(layer_store_punch(l, &(struct layer_range){SPAN_SIZE, SPAN_SIZE}, 1), 0);
	assert_int_equal(layer_store_bytes_present(l), TAR_SIZE - SPAN_SIZE);
	assert_int_equal(layer_store_read(l, &byte, 1, SPAN_SIZE), -EAGAIN);
	assert_int_equal(layer_store_read(l, &byte, 1, SPAN_SIZE - 1), 0);
	make_layer(f); /* streamed again: the same layer, its missing pages filled */
	assert_int_equal(layer_store_read(l, &byte, 1, SPAN_SIZE), 0);
	assert_int_equal(byte, 'x');
	layer_store_free(&l);
}

static void damaged_layers_are_made_anew(void **state)
{
	struct fixture *f = *state;
	struct layer_store *l;
	char text[REPORT_TEXT_SIZE];
	char path[256];

	make_layer(f);
	snprintf(path, sizeof(path), "%s/layers/%s/index.erofs", f->path, KEY);
	assert_int_equal(truncate(path, 100), 0);
	report_capture(text);
	assert_int_equal(layer_store_open(f->store, KEY, true, &l), -EBADMSG);
	report_capture(NULL);
	assert_non_null(strstr(text, KEY));
	assert_true(layer_store_is_bad(f->store, KEY));
	assert_int_equal(layer_store_open(f->store, KEY, true, &l), -ENOENT);
	make_layer(f);
	assert_int_equal(layer_store_open(f->store, KEY, true, &l), 0);
	assert_true(layer_store_is_whole(f->store, l));
	assert_int_equal(truncate(path, 100), 0);
	report_capture(text);
	assert_false(layer_store_is_whole(f->store, l));
	report_capture(NULL);
	assert_true(layer_store_is_bad(f->store, KEY));
	layer_store_free(&l);
}

/* LIMIT_LAYER_INDEX_SIZE */
static void an_index_as_large_as_allowed(void **state)
{
	struct fixture *f = *state;

	for (int more = -1; more <= 1; more++) {
		_cleanup_(layer_store_free) struct layer_store *l = NULL;
		char path[256], text[REPORT_TEXT_SIZE];

		make_layer(f);
		snprintf(path, sizeof(path), "%s/layers/%s/index.erofs", f->path, KEY);
		assert_int_equal(truncate(path, (off_t)LIMIT_LAYER_INDEX_SIZE + more), 0);
		report_capture(text);
		assert_int_equal(layer_store_open(f->store, KEY, true, &l), more <= 0 ? 0 : -EBADMSG);
		report_capture(NULL);
	}
}

static void write_in_layer(struct fixture *f, const char *name, const char *text)
{
	char path[256];
	_cleanup_(fd_close) int fd = -1;

	snprintf(path, sizeof(path), "layers/" KEY "/%s", name);
	fd = openat(f->store->store_fd, path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(fd_write_full(fd, text, strlen(text)), 0);
}

static void a_crash_leaves_what_was_synced(void **state)
{
	struct fixture *f = *state;
	const struct layer_range middle = {SPAN_SIZE, SPAN_SIZE};
	struct layer_store *l;
	uint8_t byte;

	assert_true(boot_is_new(f->store));
	assert_int_equal(boot_recover(f->store), 0);
	assert_false(boot_is_new(f->store));
	make_layer(f);
	assert_int_equal(layer_store_open(f->store, KEY, true, &l), 0);
	assert_int_equal(layer_store_sync(f->store, l), 1);
	assert_int_equal(layer_store_sync(f->store, l), 0);
	assert_int_equal(layer_store_punch(l, &middle, 1), 0);
	make_layer(f); /* filled again, but not synced */
	assert_int_equal(layer_store_bytes_present(l), TAR_SIZE);
	layer_store_free(&l);
	assert_int_equal(fd_write_file(f->store->store_fd, "boot", "other", 5, 0600), 0);
	assert_true(boot_is_new(f->store));
	assert_int_equal(boot_recover(f->store), 0);
	assert_int_equal(layer_store_open(f->store, KEY, true, &l), 0);
	assert_int_equal(layer_store_read(l, &byte, 1, 0), 0);
	assert_int_equal(layer_store_read(l, &byte, 1, SPAN_SIZE), -EAGAIN);
	make_layer(f);
	assert_int_equal(layer_store_sync(f->store, l), 1);
	layer_store_free(&l);
	assert_int_equal(boot_recover(f->store), 0);
	assert_int_equal(layer_store_open(f->store, KEY, true, &l), 0);
	assert_int_equal(layer_store_bytes_present(l), TAR_SIZE);
	layer_store_free(&l);
}

static void a_crash_takes_what_was_not_synced(void **state)
{
	static const char *const torn[] = {NULL, "lrsynce1 and then something else"};
	struct fixture *f = *state;
	struct layer_store *l;

	for (size_t i = 0; i < sizeof(torn) / sizeof(torn[0]); i++) {
		make_layer(f);
		if (torn[i]) {
			assert_int_equal(layer_store_open(f->store, KEY, true, &l), 0);
			assert_int_equal(layer_store_sync(f->store, l), 1);
			layer_store_free(&l);
			write_in_layer(f, "have.synced", torn[i]);
		}
		assert_int_equal(boot_recover(f->store), 0);
		assert_int_equal(layer_store_open(f->store, KEY, true, &l), -ENOENT);
	}
}

struct race {
	struct layer_store *l;
	atomic_bool stop;
	uint64_t wrong, reads;
};

static void *read_all_the_time(void *argument)
{
	struct race *race = argument;
	char piece[8192];

	while (!race->stop) {
		int r = layer_store_read(race->l, piece, sizeof(piece), SPAN_SIZE + 4096);

		if (r == 0)
			race->reads++;
		for (size_t i = 0; r == 0 && i < sizeof(piece); i++)
			race->wrong += piece[i] != 'x';
	}
	return NULL;
}

static void never_reads_a_hole(void **state)
{
	struct fixture *f = *state;
	struct race race = {0};
	pthread_t thread;
	uint8_t *piece = malloc(SPAN_SIZE);

	memset(piece, 'x', SPAN_SIZE);
	make_layer(f);
	assert_int_equal(layer_store_open(f->store, KEY, true, &race.l), 0);
	assert_int_equal(pthread_create(&thread, NULL, read_all_the_time, &race), 0);
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(layer_store_punch(race.l, &(struct layer_range){SPAN_SIZE, SPAN_SIZE}, 1), 0);
		assert_int_equal(layer_store_put(race.l, piece, SPAN_SIZE, SPAN_SIZE), 0);
	}
	race.stop = true;
	pthread_join(thread, NULL);
	assert_int_equal(race.wrong, 0);
	layer_store_free(&race.l);
	free(piece);
}

static void remembers_sources_newest_first(void **state)
{
	struct fixture *f = *state;
	char **names;
	size_t n;

	make_layer(f);
	assert_int_equal(layer_sources_get(f->store, KEY, &names, &n), 0);
	assert_int_equal(n, 0);
	layer_sources_free(&names);
	for (int i = 0; i < 12; i++) {
		char name[32];

		snprintf(name, sizeof(name), "host/r%d", i % 10);
		assert_int_equal(layer_sources_add(f->store, KEY, name), 0);
	}
	assert_int_equal(layer_sources_get(f->store, KEY, &names, &n), 0);
	assert_int_equal(n, LAYER_SOURCES_MAX);
	assert_string_equal(names[0], "host/r1");
	assert_string_equal(names[1], "host/r0");
	layer_sources_free(&names);
}

static void blobs_are_checked_when_read(void **state)
{
	struct fixture *f = *state;
	struct bytes b = {0};
	char path[256], hex[DIGEST_HEX_MAX + 1];
	struct digest d;

	hash_bytes("hello", 5, &d);
	assert_int_equal(blob_store_get(f->store, &d, 100, &b), -ENOENT);
	assert_int_equal(blob_store_put(f->store, &d, "hello", 5), 0);
	assert_int_equal(blob_store_get(f->store, &d, 100, &b), 0);
	assert_int_equal(b.size, 5);
	bytes_free(&b);
	snprintf(path, sizeof(path), "%s/blobs/sha256/%s", f->path, digest_hex(&d, hex));
	assert_int_equal(truncate(path, 4), 0);
	assert_int_equal(blob_store_get(f->store, &d, 100, &b), -ENOENT);
	assert_int_equal(access(path, F_OK), -1);
}

/* With room for the list alone: what it names cannot be read, and must not look as if it were not there. */
static void list_without_descriptors(const struct store *s)
{
	struct rlimit all, few;
	struct name_entry *list;
	int next = dup(0);
	size_t n;

	assert_int_equal(close(next), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
	few = all;
	few.rlim_cur = (rlim_t)next + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(names_list(s, &list, &n), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
}

static void names_keep_what_was_asked(void **state)
{
	struct fixture *f = *state;
	struct name_entry e = {.reference = "docker.io/library/a:b", .platform = "linux/amd64", .checked = 5}, got;
	struct name_entry *list;
	size_t n;

	hash_bytes("x", 1, &e.digest);
	e.manifest = e.digest;
	assert_int_equal(names_get(f->store, e.reference, e.platform, &got), -ENOENT);
	assert_int_equal(names_put(f->store, &e), 0);
	assert_int_equal(names_get(f->store, e.reference, "linux/arm64", &got), -ENOENT);
	assert_int_equal(names_get(f->store, e.reference, e.platform, &got), 0);
	assert_true(digest_equal(&got.digest, &e.digest));
	assert_int_equal(names_list(f->store, &list, &n), 0);
	assert_int_equal(n, 1);
	free(list);
	list_without_descriptors(f->store);
	assert_int_equal(names_remove(f->store, &e), 0);
	assert_int_equal(names_list(f->store, &list, &n), 0);
	assert_int_equal(n, 0);
	free(list);
}

static void refuses_stores_of_others(void **state)
{
	struct fixture *f = *state;
	char text[REPORT_TEXT_SIZE], path[160], run[96];
	struct store *s;

	snprintf(run, sizeof(run), "%s/run", f->dir);
	report_capture(text);
	snprintf(path, sizeof(path), "%s/version", f->path);
	int fd = open(path, O_WRONLY | O_TRUNC);

	assert_int_equal(write(fd, "9\n", 2), 2);
	close(fd);
	assert_int_equal(store_open(f->path, run, true, &s), -EOPNOTSUPP);
	assert_non_null(strstr(text, "layout version 9"));
	report_capture(text);
	assert_int_equal(chmod(f->path, 0777), 0);
	assert_int_equal(store_open(f->path, run, true, &s), -EACCES);
	assert_non_null(strstr(text, "chmod go-w"));
	report_capture(NULL);
}

/* Spans of a foreign table: two that share page 0, one alone in page 2, nothing in page 1 and 3. */
static void spans_share_pages(void **state)
{
	static const struct {
		uint64_t off, size;
	} ranges[] = {{0, 100}, {200, 300}, {8192 + 5, 10}};
	struct tar_member m = {.type = TAR_FILE, .path = "f", .link = "", .mode = 0644, .size = 16384};
	struct span_table_builder spans = {.foreign = true};
	_cleanup_(bytes_free) struct bytes table = {0};
	uint8_t x[300], y[300], byte;
	struct fixture *f = *state;
	uint64_t index_size, layer_file_size;
	struct layer_builder *b;
	struct layer_store *l;
	struct layer_new *n;
	void *index;

	memset(x, 'x', sizeof(x));
	memset(y, 'y', sizeof(y));
	assert_int_equal(layer_builder_new(&b), 0);
	assert_int_equal(layer_builder_add(b, &m), 0);
	assert_int_equal(layer_builder_finish(b, 16384, &index_size, &layer_file_size), 0);
	assert_int_equal(layer_new_open(f->store, &n), 0);
	for (size_t i = 0; i < 3; i++) {
		struct span s = {.off = ranges[i].off, .size = ranges[i].size, .kind = SPAN_ZSTD, .packed_size = 1};

		hash_bytes(x, ranges[i].size, &s.digest);
		assert_int_equal(span_table_add(&spans, &s), 0);
	}
	assert_int_equal(span_table_finish(&spans, &table), 0);
	assert_int_equal(layer_new_index(n, index_size, &index), 0);
	layer_builder_render(b, index);
	assert_int_equal(layer_new_commit_empty(n, "toc-1", layer_file_size, &table), 0);
	assert_int_equal(layer_store_open(f->store, "toc-1", true, &l), 0);

	assert_int_equal(layer_store_bytes_present(l), 8192); /* what no span fills is there: zeros */
	assert_int_equal(layer_store_read(l, &byte, 1, 4096), 0);
	assert_int_equal(byte, 0);
	assert_int_equal(layer_store_put_span(l, 0, x), 0);
	assert_true(layer_store_has_span(l, 0));
	assert_false(layer_store_present(l, 0, 100)); /* its page waits for the other */
	assert_int_equal(layer_store_put_span(l, 1, x), 0);
	assert_true(layer_store_present(l, 0, 4096));
	assert_int_equal(layer_store_read(l, &byte, 1, 499), 0);
	assert_int_equal(byte, 'x');
	assert_int_equal(layer_store_put_span(l, 1, y), 0); /* nobody writes to what may be read */
	assert_int_equal(layer_store_read(l, &byte, 1, 499), 0);
	assert_int_equal(byte, 'x');
	assert_int_equal(layer_store_put_span(l, 2, x), 0);
	assert_int_equal(layer_store_bytes_present(l), 16384);

	assert_int_equal(layer_store_punch(l, &(struct layer_range){200, 300}, 1), 0); /* takes the whole page */
	assert_false(layer_store_has_span(l, 0));
	assert_false(layer_store_has_span(l, 1));
	assert_true(layer_store_has_span(l, 2));
	assert_int_equal(layer_store_put_span(l, 1, x), 0);
	layer_store_free(&l);

	/* Who opens it anew knows whole pages only. */
	assert_int_equal(layer_store_open(f->store, "toc-1", true, &l), 0);
	assert_false(layer_store_has_span(l, 1));
	assert_true(layer_store_has_span(l, 2));
	assert_int_equal(layer_store_put_span(l, 0, x), 0);
	assert_int_equal(layer_store_put_span(l, 1, x), 0);
	assert_int_equal(layer_store_read(l, &byte, 1, 0), 0);
	assert_int_equal(layer_store_read(l, &byte, 1, 150), 0);
	assert_int_equal(byte, 0); /* between the spans */
	layer_store_free(&l);
	layer_new_free(&n);
	layer_builder_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(appears_whole_and_is_completed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(spans_share_pages, set_up, tear_down),
		cmocka_unit_test_setup_teardown(damaged_layers_are_made_anew, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_index_as_large_as_allowed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_crash_leaves_what_was_synced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_crash_takes_what_was_not_synced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(never_reads_a_hole, set_up, tear_down),
		cmocka_unit_test_setup_teardown(remembers_sources_newest_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(blobs_are_checked_when_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(names_keep_what_was_asked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refuses_stores_of_others, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
