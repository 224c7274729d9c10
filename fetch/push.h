/* push: puts blobs and manifests into a source's repository: a registry's, or a layout directory's.
 *
 * Ownership  Borrows everything for the call.
 * Units      Bytes.
 * Errors     As in source.h, reported; -EACCES: who we are may not push there. What was sent in part is not there
 *            at all: push again, blobs that arrived are not sent twice.
 * Threads    Any; blobs may be pushed side by side.
 * Source     distribution-spec "Push"; image-spec image-layout.md.
 */
#pragma once

#include "fetch/source.h"
#include "fetch/transport.h"

/* Puts a blob where it is not yet (HEAD asks first). `mount_from` is another repository of the same registry that
 * has it ("app"), or NULL. The registry checks the digest; a layout's is checked here. *ret_sent (may be NULL): its
 * bytes were sent, not just found or mounted. */
int push_blob(struct source *s, const struct digest *digest, const struct transport_upload *bytes,
	      const char *mount_from, bool *ret_sent);

/* Puts a manifest or index under `tag`, or by its digest alone (NULL). Everything it names must be there already.
 * *ret_digest is its sha256. *ret_subject_known (may be NULL): the registry has taken note of its subject (a layout
 * always has); otherwise see referrers_push(). */
int push_manifest(struct source *s, const char *tag, const char *media_type, const void *data, size_t size,
		  struct digest *ret_digest, bool *ret_subject_known);
