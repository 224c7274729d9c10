/* One manifest by digest; that of version 1 is in the list of what refers to the image's. */
#include "fetch/soci.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "cache/artifacts.h"
#include "cache/blob_store.h"

/* Who vouches decides which version it must be. */
static int parse(const struct bytes *b, const struct digest *digest, const struct image *i, struct soci_index **ret)
{
	_cleanup_(soci_index_free) struct soci_index *index = NULL;
	char text[DIGEST_TEXT_MAX], name[LIMIT_PATH_SIZE + 1024];
	int r;

	snprintf(name, sizeof(name), "the SOCI index %s in %s", digest_text(digest, text), i->repository);
	r = soci_index_parse(b->data, b->size, name, &index);
	if (r < 0)
		return r;
	if (index->version != (i->soci_v2.algorithm == DIGEST_NONE ? 1 : 2))
		return fail(EBADMSG, "%s: it has the version %u, which is found otherwise", name, index->version);
	if (index->version == 1 && !digest_equal(&index->subject, &i->name.manifest))
		return fail(EBADMSG, "%s belongs to another image than it is listed for", name);
	*ret = TAKE(index);
	return 0;
}

int soci_known(const struct store *s, const struct image *i, struct digest *ret_digest, struct soci_index **ret)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	struct digest digest = i->soci_v2;
	int r = 0;

	if (i->trust == IMAGE_TRUST_WHOLE || (i->trust == IMAGE_TRUST_PINNED && digest.algorithm == DIGEST_NONE))
		return -ENOENT;
	if (digest.algorithm == DIGEST_NONE)
		r = artifacts_get(s, ARTIFACTS_SOCI, i->repository, &i->name.manifest, &digest);
	if (r == 0)
		r = blob_store_get(s, &digest, LIMIT_MANIFEST_SIZE, &b);
	if (r == 0)
		r = parse(&b, &digest, i, ret);
	if (r == 0)
		*ret_digest = digest;
	return r;
}

/* The first of the list, as soci-snapshotter has it: a repository has one of each image. */
static int find_v1(const struct referrers *list, struct digest *ret)
{
	for (size_t n = 0; list && n < list->n; n++)
		if (strcmp(list->list[n].artifact_type, SOCI_INDEX_TYPE_1) == 0) {
			*ret = list->list[n].digest;
			return 0;
		}
	return -ENOENT;
}

int soci_find(struct context *c, const struct image *i, struct source *source, const struct referrers *list,
	      struct soci_index **ret)
{
	_cleanup_(soci_index_free) struct soci_index *index = NULL;
	_cleanup_(bytes_free) struct bytes b = {0};
	struct digest digest = i->soci_v2, got;
	const bool v1 = digest.algorithm == DIGEST_NONE;
	char content_type[128];
	int r = 0;

	if (i->trust == IMAGE_TRUST_WHOLE || (i->trust == IMAGE_TRUST_PINNED && v1))
		return -ENOENT;
	if (v1)
		r = find_v1(list, &digest);
	if (r < 0)
		return r;
	r = blob_store_get(c->store, &digest, LIMIT_MANIFEST_SIZE, &b);
	if (r == -ENOENT)
		r = source_get_manifest(source, NULL, &digest, &b, content_type, &got);
	if (r == 0)
		r = parse(&b, &digest, i, &index);
	if (r == 0)
		r = blob_store_put(c->store, &digest, b.data, b.size);
	if (r == 0 && v1)
		r = artifacts_put(c->store, ARTIFACTS_SOCI, i->repository, &i->name.manifest, &digest);
	if (r < 0)
		return r;
	*ret = TAKE(index);
	return 0;
}

void soci_forget(const struct store *s, const struct image *i)
{
	char name[DIGEST_HEX_MAX + 1], text[REPORT_TEXT_SIZE], *outer = report_capture(text);

	if (i->soci.algorithm != DIGEST_NONE)
		unlinkat(s->blobs_fd, digest_hex(&i->soci, name), 0);
	artifacts_remove(s, ARTIFACTS_SOCI, i->repository, &i->name.manifest);
	report_capture_again(outer);
}
