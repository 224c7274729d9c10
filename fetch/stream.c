/* Follows one download: decode in this thread, everything about plain bytes in plain_side. */
#include "fetch/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/report.h"
#include "fetch/plain_side.h"
#include "format/decoder.h"

#define PACKED_BUFFER (256u << 10)

struct packed_side {
	const struct stream_job *job;
	struct download *download;
	struct decoder *decoder;
	struct plain_side *plain;
	struct hash *blob_hash;
	uint8_t *buffer;
	uint64_t have; /* packed bytes decoded */
	bool wrong_bytes; /* they are not what the manifest names */
};

void stream_key(const struct digest *diff_id, char ret[static LAYER_KEY_SIZE])
{
	char hex[DIGEST_HEX_MAX + 1];

	snprintf(ret, LAYER_KEY_SIZE, "tar-%.64s", digest_hex(diff_id, hex));
}

/* Compares the plain size with what `packed` bytes may at most hold: a bomb stops here. */
static int check_expansion(const struct packed_side *p)
{
	uint64_t plain = plain_side_size(p->plain);

	if (plain > LIMIT_LAYER_FILE_SIZE)
		return fail(EFBIG, "it unpacks to more than %" PRIu64 " bytes", (uint64_t)LIMIT_LAYER_FILE_SIZE);
	if (decoder_is_bomb(p->have, plain))
		return fail(EFBIG, "it unpacks to more than %u times its size: this is not an honest image",
			    LIMIT_EXPANSION);
	return 0;
}

static int decode(struct packed_side *p, size_t size)
{
	size_t used = 0;
	int r;

	for (;;) {
		size_t took = 0, made = 0, room;
		uint8_t *out;

		r = plain_side_room(p->plain, &out, &room);
		if (r < 0)
			return r;
		r = decoder_run(p->decoder, p->buffer + used, size - used, &took, out, room, &made);
		if (r < 0)
			return r;
		used += took;
		plain_side_push(p->plain, made);
		if (used == size && made < room)
			return check_expansion(p);
		if (took == 0 && made == 0 && used < size)
			return fail(EBADMSG, "there are bytes behind the end of the compressed data");
		r = check_expansion(p);
		if (r < 0)
			return r;
	}
}

static int follow_download(struct packed_side *p)
{
	uint64_t size = p->job->blob.size, available = 0;
	int r;

	while (p->have < size) {
		r = download_wait(p->download, p->have, &available);
		if (r < 0)
			return r;
		while (p->have < available) {
			uint64_t left = available - p->have;
			size_t n = left < PACKED_BUFFER ? (size_t)left : PACKED_BUFFER;

			r = fd_pread_full(download_fd(p->download), p->buffer, n, p->have);
			if (r < 0)
				return fail(-r, "its packed bytes cannot be read back: %s", strerror(-r));
			hash_update(p->blob_hash, p->buffer, n);
			p->have += n;
			atomic_store(&p->job->progress->done, p->have);
			r = decode(p, n);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Bytes that break may be the registry's fault or the image's: the blob's digest tells. */
static int whose_fault(struct packed_side *p, int r)
{
	uint64_t available = p->have;
	struct digest got;

	while (p->have < p->job->blob.size && download_wait(p->download, p->have, &available) == 0)
		while (p->have < available) {
			uint64_t left = available - p->have;
			size_t n = left < PACKED_BUFFER ? (size_t)left : PACKED_BUFFER;

			if (fd_pread_full(download_fd(p->download), p->buffer, n, p->have) < 0)
				return r;
			hash_update(p->blob_hash, p->buffer, n);
			p->have += n;
		}
	hash_finish(p->blob_hash, &got);
	if (digest_equal(&got, &p->job->blob.digest))
		return fail(-r, "its blob is what the manifest names, so the image itself is broken: ask who built it");
	p->wrong_bytes = true;
	return fail(-r, "its blob does not match its digest: %s sent wrong bytes; try again, or another mirror",
		    source_name(p->job->source));
}

static int check_blob(struct packed_side *p)
{
	char want[DIGEST_TEXT_MAX], have[DIGEST_TEXT_MAX];
	struct digest got;

	hash_finish(p->blob_hash, &got);
	p->wrong_bytes = !digest_equal(&got, &p->job->blob.digest);
	if (p->wrong_bytes)
		return fail(EBADMSG, "%s sent a blob with digest %s instead of %s; try again, or another mirror",
			    source_name(p->job->source), digest_text(&got, have),
			    digest_text(&p->job->blob.digest, want));
	return 0;
}

static int run_pass(struct packed_side *p)
{
	int r = follow_download(p);

	if (r == 0 && p->have)
		r = decoder_finish(p->decoder);
	if (r == 0)
		r = plain_side_finish(p->plain);
	if (r == -EBADMSG || r == -EFBIG)
		return p->have ? whose_fault(p, r) : r;
	if (r < 0)
		return r;
	return check_blob(p);
}

/* Registries serve blobs whose media type lies, so the first bytes decide. */
static int choose_decoder(struct packed_side *p, enum decoder_kind *ret)
{
	uint64_t available = 0;
	uint8_t first[4];
	int r = 0;

	*ret = DECODER_STORED;
	while (r == 0 && available < sizeof(first) && available < p->job->blob.size)
		r = download_wait(p->download, available, &available);
	if (r == 0 && available >= sizeof(first)) {
		r = fd_pread_full(download_fd(p->download), first, sizeof(first), 0);
		if (r < 0)
			return fail(-r, "its packed bytes cannot be read back: %s", strerror(-r));
		*ret = decoder_sniff(first, sizeof(first));
	}
	return r < 0 ? r : decoder_new(*ret, &p->decoder);
}

static void packed_side_free(struct packed_side *p)
{
	plain_side_free(&p->plain);
	download_free(&p->download);
	decoder_free(&p->decoder);
	hash_free(&p->blob_hash);
	free(p->buffer);
}

struct outcome {
	bool wrong_bytes; /* it failed because the bytes are not the manifest's */
	bool compressed;
};

/* One pass over the blob; the .part file holds `from` bytes of it already. */
static int stream_once(const struct stream_job *job, int part_fd, uint64_t from, struct outcome *ret)
{
	const struct layer_blob blob = {.digest = job->blob.digest, .size = job->blob.size};
	_cleanup_(packed_side_free) struct packed_side p = {.job = job};
	char key[LAYER_KEY_SIZE];
	enum decoder_kind kind;
	int r;

	p.buffer = malloc(PACKED_BUFFER);
	if (!p.buffer)
		return -ENOMEM;
	r = hash_new(job->blob.digest.algorithm, &p.blob_hash);
	if (r < 0)
		return r;
	r = source_download(job->source, &job->blob, part_fd, from, &p.download);
	if (r < 0)
		return r;
	download_stop_when(p.download, &job->progress->stop);
	r = choose_decoder(&p, &kind);
	if (r < 0)
		return r;
	while (sem_wait(job->decoders) < 0)
		;
	atomic_store(&job->progress->state, STREAM_RUNNING);
	r = plain_side_new(job->store, kind == DECODER_STORED, &p.plain);
	if (r == 0)
		r = run_pass(&p);
	if (r == 0) {
		stream_key(&job->diff_id, key);
		ret->compressed = kind != DECODER_STORED;
		r = plain_side_commit(p.plain, &job->diff_id, key, ret->compressed ? &blob : NULL, job->repository);
		if (r == 0 && !layer_blob_unpacks_to(job->store, key, &job->diff_id, &blob.digest))
			r = layer_blob_add(job->store, key, &blob.digest); /* it was there, packed otherwise */
	}
	sem_post(job->decoders);
	ret->wrong_bytes = p.wrong_bytes;
	return r;
}

/* Once more from the start when the bytes are not the manifest's: one flipped on the way, or what a machine that
 * crashed left in the .part file. */
static int stream_twice(const struct stream_job *job, int part_fd, uint64_t from, struct outcome *ret)
{
	char text[REPORT_TEXT_SIZE], *before = report_capture(text);
	int r = stream_once(job, part_fd, from, ret);

	report_capture_again(before);
	if (r == 0 || !ret->wrong_bytes)
		return r < 0 && text[0] ? fail(-r, "%s", text) : r;
	report_note("%s; fetching it once more", text);
	if (ftruncate(part_fd, 0) < 0)
		return -errno;
	return stream_once(job, part_fd, 0, ret);
}

void stream_part_name(const struct digest *blob, char ret[static STREAM_PART_SIZE])
{
	char hex[DIGEST_HEX_MAX + 1];

	snprintf(ret, STREAM_PART_SIZE, "%s.part", digest_hex(blob, hex));
}

int stream_layer(const struct stream_job *job)
{
	_cleanup_(fd_close) int part_fd = -1;
	char name[STREAM_PART_SIZE];
	struct outcome outcome = {0};
	struct stat st;
	int r;

	if (job->blob.size > LIMIT_BLOB_SIZE)
		return fail(EFBIG, "the manifest says %" PRIu64 " bytes; at most %" PRIu64 " are allowed",
			    job->blob.size, (uint64_t)LIMIT_BLOB_SIZE);
	stream_part_name(&job->blob.digest, name);
	part_fd = openat(job->store->tmp_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (part_fd < 0 || fstat(part_fd, &st) < 0)
		return fail(errno, "%s/tmp/%s cannot be opened: %s", job->store->store_path, name, strerror(errno));
	if ((uint64_t)st.st_size > job->blob.size) {
		if (ftruncate(part_fd, 0) < 0)
			return -errno;
		st.st_size = 0;
	}
	r = stream_twice(job, part_fd, (uint64_t)st.st_size, &outcome);
	/* A blob that lies in a layout was never copied. */
	if (r == 0 && (fstat(part_fd, &st) < 0 || (uint64_t)st.st_size != job->blob.size))
		outcome.compressed = false;
	/* On a full disk it would only keep others from going on. */
	if ((r == 0 && !outcome.compressed) || r == -EBADMSG || r == -EFBIG || r == -ENOSPC || r == -EDQUOT)
		unlinkat(job->store->tmp_fd, name, 0);
	if (r == 0)
		atomic_store(&job->progress->state, STREAM_DONE);
	return r;
}
