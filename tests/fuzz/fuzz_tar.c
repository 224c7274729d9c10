/* Fuzz target: a tar fed as a whole and in odd pieces must tell the same members, or fail both ways. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/report.h"
#include "format/member_path.h"
#include "format/tar.h"
#include "format/whiteout.h"
#include "tests/fuzz/tar_seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void note_number(struct bytes *log, uint64_t number)
{
	assert(bytes_append(log, &number, sizeof(number)) == 0);
}

static void note_bytes(struct bytes *log, const void *data, size_t size)
{
	note_number(log, size);
	assert(bytes_append(log, data, size) == 0);
}

/* Touches every byte a member promises, and checks what it promises. */
static void note_member(struct bytes *log, const struct tar_member *m)
{
	uint64_t end = 0;
	struct member_path path;
	struct whiteout whiteout;

	note_number(log, (uint64_t)m->type << 32 | m->mode);
	note_bytes(log, m->path, strlen(m->path));
	note_bytes(log, m->link, strlen(m->link));
	note_number(log, (uint64_t)m->uid << 32 | m->gid);
	note_number(log, (uint64_t)m->mtime);
	note_number(log, (uint64_t)m->major << 32 | m->minor);
	note_number(log, m->size);
	note_number(log, m->body_off);
	assert(m->mtime_nsec < 1000000000 && m->mode <= 07777);
	assert(m->sparse || !m->n_fragments);
	for (size_t i = 0; i < m->n_fragments; i++) {
		const struct tar_fragment *f = &m->fragments[i];

		assert(f->size && f->off >= end && f->size <= m->size && f->off <= m->size - f->size);
		end = f->off + f->size;
		note_number(log, f->off);
		note_number(log, f->size);
		note_number(log, f->body_off);
	}
	for (size_t i = 0; i < m->n_xattrs; i++) {
		assert(!i || strcmp(m->xattrs[i - 1].name, m->xattrs[i].name) < 0);
		note_bytes(log, m->xattrs[i].name, strlen(m->xattrs[i].name));
		note_bytes(log, m->xattrs[i].value, m->xattrs[i].value_size);
	}
	if (member_path_check(m->path, &path) == 0)
		whiteout_classify(&path, &whiteout);
}

static int walk(const uint8_t *data, size_t size, bool odd, struct bytes *log)
{
	static const size_t pieces[] = {1, 511, 2, 513, 7, 512, 100, 1023, 3};
	struct tar *t = NULL;
	size_t pos = 0;
	int r;

	assert(tar_new(&t) == 0);
	for (size_t i = 0; pos < size; i++) {
		size_t n = odd && pieces[i % 9] < size - pos ? pieces[i % 9] : size - pos;
		uint8_t *piece = malloc(n);
		size_t used = 0, at = 0;
		struct tar_member m;

		assert(piece);
		memcpy(piece, data + pos, n);
		do {
			r = tar_next(t, piece + at, n - at, &used, &m);
			if (r < 0)
				break;
			at += used;
			if (r == 1)
				note_member(log, &m);
			assert(r == 1 || at == n);
		} while (at < n);
		free(piece);
		if (r < 0)
			break;
		pos += n;
	}
	if (pos == size)
		r = tar_finish(t);
	tar_free(&t);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	_cleanup_(bytes_free) struct bytes whole = {0}, odd = {0}, data = {0};
	char report[REPORT_TEXT_SIZE];
	int r_whole, r_odd;

	assert(bytes_append(&data, input, size) == 0);
	tar_seal(data.data, size);
	report_capture(report);
	r_whole = walk(data.data, size, false, &whole);
	assert(r_whole == 0 || report[0]);
	report[0] = '\0';
	r_odd = walk(data.data, size, true, &odd);
	assert(r_whole == r_odd && whole.size == odd.size);
	assert(!whole.size || !memcmp(whole.data, odd.data, whole.size));
	report_capture(NULL);
	return 0;
}
