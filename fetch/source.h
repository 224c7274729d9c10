/* source: where an image's bytes come from: a repository of a registry, or an OCI layout directory.
 *
 * Ownership  source_open() hands over; source_free() ends it (downloads first).
 * Units      Bytes.
 * Errors     Reported, naming the host or directory and what to do: -ENOENT (404: no such name, tag
 * or blob), -EACCES (401, 403), -EAGAIN (429 for longer than we retry), -EPROTO (5xx, wrong ranges,
 * a reply that breaks the protocol), -EHOSTUNREACH, -ECONNREFUSED, -ETIMEDOUT, -EBADMSG (digest or
 * size differs from the descriptor), -EFBIG. Threads    Any thread; calls block the calling thread.
 * Only `transport` touches libcurl. Source     distribution-spec; image-spec image-layout.md;
 * shared REGISTRY.md section 2.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json_object.h>

#include "base/bytes.h"
#include "format/manifest.h"
#include "format/reference.h"

struct transport; /* transport.h: the one libcurl thread */
struct transport_follow;
struct registry;
struct layout;
struct source;
struct download;

/* `access` is what the command sent: see credentials.h for the object's fields. It is copied. NULL:
 * anonymous. */
int source_open(struct transport *t, const struct reference *ref, struct json_object *access,
		struct source **ret);
void source_free(struct source **s);

/* What it is: one of them is not NULL. For push and referrers. */
struct registry *source_registry(const struct source *s);
struct layout *source_layout(const struct source *s);

/* "registry.example/app" or "oci:/dir": for messages. */
const char *source_name(const struct source *s);

/* The manifest or index by tag (NULL digest) or by digest (verified). Raw bytes, content type (may
 * be
 * ""), and the digest of the bytes. */
int source_get_manifest(struct source *s, const char *tag, const struct digest *digest,
			struct bytes *ret, char ret_content_type[static 128],
			struct digest *ret_digest);

/* A whole small blob, at most `max` bytes, verified. */
int source_get_blob(struct source *s, const struct descriptor *d, size_t max, struct bytes *ret);

/* Bytes [off, off+size) of a blob, not verified: the caller has the span's digest. Retries are bounded; `once`: none, and
 * no waiting for a host that does not answer at once, for who has another source or another way. `follow` may be NULL. */
int source_get_range(struct source *s, const struct descriptor *d, uint64_t off, size_t size, bool once,
		     const struct transport_follow *follow, void *out);

/* Whether its host could not be reached a moment ago: ask others first. */
bool source_is_down(const struct source *s);

/* When it last gave what it was asked for, as clock_ms(); 0: never, or a layout. */
int64_t source_worked(const struct source *s);

/* Streams a blob's packed bytes into `part_fd` behind the `from` bytes that are already in it, with
 * retries and resume by range, never past the descriptor's size. Bytes are not verified here. For a
 * layout download_fd() is the blob's own file and nothing is copied; else it is part_fd, which must
 * stay open until download_free(). */
int source_download(struct source *s, const struct descriptor *d, int part_fd, uint64_t from,
		    struct download **ret);

/* Waits until more than `have` bytes are readable with pread(download_fd()); *ret_available says
 * how many. 0 with *ret_available == the descriptor's size: complete. Negative: it failed for good.
 */
int download_wait(struct download *d, uint64_t have, uint64_t *ret_available);
int download_fd(const struct download *d);

/* From here on download_wait() ends soon after *stop was set, with -ECANCELED, bare. */
void download_stop_when(struct download *d, const atomic_bool *stop);
void download_free(struct download **d); /* cancels what still runs */
