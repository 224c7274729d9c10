/* Of what refers to the image's manifest, the one that counts; then its manifest. */
#include "fetch/lazy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/report.h"
#include "cache/artifacts.h"
#include "cache/blob_store.h"

/* A manifest of ours by its digest; that it belongs to another image makes it a broken one. */
static int parse(const struct bytes *b, const struct digest *digest, const struct digest *manifest,
		 const char *repository, struct lazy_artifact **ret)
{
	_cleanup_(lazy_artifact_free) struct lazy_artifact *a = NULL;
	char text[DIGEST_TEXT_MAX], name[LIMIT_PATH_SIZE + 1024];
	int r;

	snprintf(name, sizeof(name), "the artifact %s in %s", digest_text(digest, text), repository);
	r = lazy_artifact_parse(b->data, b->size, name, &a);
	if (r < 0)
		return r;
	if (!digest_equal(&a->subject, manifest))
		return fail(EBADMSG, "%s belongs to another image than it is listed for", name);
	*ret = TAKE(a);
	return 0;
}

int lazy_known(const struct store *s, const char *repository, const struct digest *manifest, struct digest *ret_digest,
	       struct lazy_artifact **ret)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	struct digest digest;
	int r = artifacts_get(s, ARTIFACTS_LAZY, repository, manifest, &digest);

	if (r == 0)
		r = blob_store_get(s, &digest, LIMIT_MANIFEST_SIZE, &b);
	if (r == 0)
		r = parse(&b, &digest, manifest, repository, ret);
	if (r == 0 && ret_digest)
		*ret_digest = digest;
	return r;
}

/* From the store when it is known there. */
static int get(const struct store *s, struct source *source, const struct digest *d, const struct image *i,
	       struct bytes *ret, struct lazy_artifact **ret_artifact)
{
	char content_type[128];
	struct digest got;
	int r = blob_store_get(s, d, LIMIT_MANIFEST_SIZE, ret);

	if (r == -ENOENT)
		r = source_get_manifest(source, NULL, d, ret, content_type, &got);
	return r < 0 ? r : parse(ret, d, &i->name.manifest, i->repository, ret_artifact);
}

/* The newest of ours in the list; without a date it is the oldest. */
static const struct referrer *choose(const struct referrers *list)
{
	const struct referrer *best = NULL;

	for (size_t i = 0; i < list->n; i++) {
		const struct referrer *one = &list->list[i];
		int order = best ? strcmp(referrers_annotation(one, LAZY_ARTIFACT_CREATED),
					  referrers_annotation(best, LAZY_ARTIFACT_CREATED)) :
				   1;

		if (one->digest.algorithm != DIGEST_SHA256 || strcmp(one->artifact_type, LAZY_ARTIFACT_TYPE) != 0)
			continue;
		if (order > 0 ||
		    (order == 0 && memcmp(one->digest.bytes, best->digest.bytes, sizeof(one->digest.bytes)) > 0))
			best = one;
	}
	return best;
}

static int keep(const struct store *s, const struct image *i, const struct digest *digest, const struct bytes *manifest)
{
	int r = blob_store_put(s, digest, manifest->data, manifest->size);

	return r < 0 ? r : artifacts_put(s, ARTIFACTS_LAZY, i->repository, &i->name.manifest, digest);
}

int lazy_find(struct context *c, const struct image *i, struct source *source, const struct referrers *list,
	      struct lazy_artifact **ret)
{
	_cleanup_(lazy_artifact_free) struct lazy_artifact *a = NULL;
	_cleanup_(bytes_free) struct bytes b = {0};
	const struct referrer *best = choose(list);
	int r;

	if (!best)
		return -ENOENT;
	r = get(c->store, source, &best->digest, i, &b, &a);
	if (r == 0)
		r = keep(c->store, i, &best->digest, &b);
	if (r < 0)
		return r;
	*ret = TAKE(a);
	return 0;
}

void lazy_forget(const struct store *s, const struct image *i)
{
	_cleanup_(lazy_artifact_free) struct lazy_artifact *a = NULL;
	char name[DIGEST_HEX_MAX + 1], text[REPORT_TEXT_SIZE], *outer = report_capture(text);
	struct digest digest;

	/* One that is broken has left no heads of packs. */
	if (lazy_known(s, i->repository, &i->name.manifest, &digest, &a) == 0) {
		for (size_t n = 0; n < a->n_packs; n++)
			unlinkat(s->blobs_fd, digest_hex(&a->packs[n].head, name), 0);
		unlinkat(s->blobs_fd, digest_hex(&digest, name), 0);
	}
	artifacts_remove(s, ARTIFACTS_LAZY, i->repository, &i->name.manifest);
	report_capture_again(outer);
}
