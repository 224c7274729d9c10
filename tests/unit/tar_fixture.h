/* tar_fixture: a small tar writer, and what tar says of its streams, for the tests of tar's parts.
 *
 * Ownership  The stream `s` is the test program's; run_tar_tests() ends it.
 * Units      Bytes.
 * Errors     A failed assertion.
 * Threads    One.
 * Source     POSIX.1-2017 pax, ustar Interchange Format.
 */
#pragma once

#include "base/report.h" /* before cmocka.h, which has a macro fail() */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "format/tar.h"

static char report[REPORT_TEXT_SIZE];
static struct bytes s; /* the stream that a test writes */

static inline void put(size_t at, const void *data, size_t size)
{
	memcpy(s.data + s.size - 512 + at, data, size);
}

/* Counts the last block's checksum, over signed bytes if asked. */
static inline void seal_as(bool as_signed)
{
	uint8_t *b = s.data + s.size - 512;
	int sum = 8 * ' ';
	char text[8];

	for (size_t i = 0; i < 512; i++)
		sum += i >= 148 && i < 156 ? 0 : as_signed ? (int8_t)b[i] : b[i];
	snprintf(text, sizeof(text), "%06o", (unsigned)sum & 0777777);
	text[7] = ' ';
	memcpy(b + 148, text, 8);
}

static inline void edit(size_t at, const void *data, size_t size)
{
	put(at, data, size);
	seal_as(false);
}

static inline void header(char type, const char *name, uint64_t size)
{
	static const uint8_t zeros[512];
	char text[16];

	assert_int_equal(bytes_append(&s, zeros, 512), 0);
	put(0, name, strlen(name));
	put(100, "0000644", 8);
	put(108, "0001750", 8);
	put(116, "0000144", 8);
	snprintf(text, sizeof(text), "%011" PRIo64, size);
	put(124, text, 12);
	put(136, "00000000012", 12);
	put(156, &type, 1);
	put(257, "ustar\0" "00", 8);
	seal_as(false);
}

static inline void gnu_header(char type, const char *name, uint64_t size)
{
	header(type, name, size);
	edit(257, "ustar  ", 8);
}

static inline void body(const void *data, size_t size)
{
	static const uint8_t zeros[512];

	assert_int_equal(bytes_append(&s, data, size), 0);
	assert_int_equal(bytes_append(&s, zeros, -size & 511), 0);
}

static inline void text_body(const char *text)
{
	body(text, strlen(text));
}

static inline void end(void)
{
	static const uint8_t zeros[1024];

	assert_int_equal(bytes_append(&s, zeros, 1024), 0);
}

/* "LENGTH KEY=VALUE\n", the length counting itself. */
static inline void record(struct bytes *to, const char *key, const void *value, size_t size)
{
	size_t rest = strlen(key) + size + 3, n = rest + 1;

	while (n != rest + (size_t)snprintf(NULL, 0, "%zu", n))
		n++;
	assert_int_equal(bytes_printf(to, "%zu %s=", n, key), 0);
	assert_int_equal(bytes_append(to, value, size), 0);
	assert_int_equal(bytes_append(to, "\n", 1), 0);
}

/* A pax header of "key", "value" pairs up to NULL. */
static inline void pax(char type, const char *key, ...)
{
	_cleanup_(bytes_free) struct bytes records = {0};
	va_list args;

	va_start(args, key);
	for (; key; key = va_arg(args, const char *)) {
		const char *value = va_arg(args, const char *);

		record(&records, key, value, strlen(value));
	}
	va_end(args);
	header(type, "PaxHeaders/x", records.size);
	body(records.data, records.size);
}

static inline void raw_pax(const char *records, size_t size)
{
	header('x', "PaxHeaders/x", size);
	body(records, size);
}

static inline void note(struct bytes *to, const struct tar_member *m)
{
	bytes_printf(to, "%d %s", m->type, m->path);
	if (m->link[0])
		bytes_printf(to, " -> %s", m->link);
	bytes_printf(to, " %o %u:%u t%" PRId64 ".%09u s%" PRIu64, m->mode, m->uid, m->gid, m->mtime, m->mtime_nsec,
		     m->size);
	if (m->type == TAR_CHARACTER_DEVICE || m->type == TAR_BLOCK_DEVICE)
		bytes_printf(to, " d%u,%u", m->major, m->minor);
	if (m->type == TAR_FILE && !m->sparse)
		bytes_printf(to, " @%" PRIu64, m->body_off);
	if (m->sparse)
		bytes_printf(to, " sparse");
	for (size_t i = 0; i < m->n_fragments; i++)
		bytes_printf(to, " %" PRIu64 "+%" PRIu64 "@%" PRIu64, m->fragments[i].off, m->fragments[i].size,
			     m->fragments[i].body_off);
	for (size_t i = 0; i < m->n_xattrs; i++)
		bytes_printf(to, " %s=%.*s", m->xattrs[i].name, (int)m->xattrs[i].value_size,
			     (const char *)m->xattrs[i].value);
	bytes_printf(to, "\n");
}

static inline int walk(size_t piece, struct bytes *to)
{
	struct tar *t = NULL;
	struct tar_member m;
	size_t pos = 0, used;
	int r = 0;

	to->size = 0;
	assert_int_equal(tar_new(&t), 0);
	while (r >= 0 && pos < s.size) {
		size_t n = s.size - pos < piece ? s.size - pos : piece;

		r = tar_next(t, s.data + pos, n, &used, &m);
		if (r < 0)
			break;
		if (r)
			note(to, &m);
		else
			assert_int_equal(used, n);
		pos += used;
	}
	if (r >= 0) {
		r = tar_finish(t);
	} else {
		assert_int_equal(tar_next(t, "x", 1, &used, &m), -EBADMSG);
		assert_int_equal(tar_finish(t), -EBADMSG);
	}
	tar_free(&t);
	bytes_terminate(to);
	return r;
}

/* The stream says `want`, whatever the pieces; then it is emptied. */
static inline void expect(const char *want)
{
	static const size_t pieces[] = {1u << 30, 1, 100, 512, 513, 5000};
	_cleanup_(bytes_free) struct bytes got = {0};

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		report[0] = '\0';
		assert_int_equal(walk(pieces[i], &got), 0);
		assert_string_equal((char *)got.data, want);
		assert_string_equal(report, "");
	}
	s.size = 0;
}

static inline void expect_error(int error)
{
	_cleanup_(bytes_free) struct bytes got = {0};

	report[0] = '\0';
	assert_int_equal(walk(1u << 30, &got), error);
	assert_true(report[0] != '\0');
	assert_int_equal(walk(7, &got), error);
	s.size = 0;
}

/* A test that failed leaves its stream behind. */
static inline int forget(void **state)
{
	(void)state;
	s.size = 0;
	return 0;
}

#define tar_test(name) cmocka_unit_test_setup(name, forget)

#define run_tar_tests(tests)                                                                       \
	({                                                                                         \
		report_capture(report);                                                            \
		int failed_ = cmocka_run_group_tests(tests, NULL, NULL);                           \
		bytes_free(&s);                                                                    \
		failed_;                                                                           \
	})
