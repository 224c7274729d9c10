/* The list of what refers to the image's manifest, then the manifest of the one that counts. */
#include "fetch/lazy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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
	int r = artifacts_get(s, repository, manifest, &digest);

	if (r == 0)
		r = blob_store_get(s, &digest, LIMIT_MANIFEST_SIZE, &b);
	if (r == 0)
		r = parse(&b, &digest, manifest, repository, ret);
	if (r == 0 && ret_digest)
		*ret_digest = digest;
	return r;
}

/* -EOPNOTSUPP (bare): an artifact of another kind. */
static int get(struct source *source, const struct digest *d, const struct image *i, struct bytes *ret,
	       struct lazy_artifact **ret_artifact)
{
	char content_type[128], text[REPORT_TEXT_SIZE], *outer;
	struct digest got;
	int r = source_get_manifest(source, NULL, d, ret, content_type, &got);

	if (r < 0)
		return r;
	outer = report_capture(text);
	r = parse(ret, d, &i->name.manifest, i->repository, ret_artifact);
	report_capture_again(outer);
	return r < 0 && r != -EOPNOTSUPP && text[0] ? fail(-r, "%s", text) : r;
}

static bool is_newer(const struct lazy_artifact *a, const struct digest *digest, const struct lazy_artifact *than,
		     const struct digest *than_digest)
{
	int order = than ? strcmp(a->created, than->created) : 1;

	return order > 0 || (order == 0 && memcmp(digest->bytes, than_digest->bytes, sizeof(digest->bytes)) > 0);
}

/* What the tag of the referrers tag schema lists. -ENOENT (bare): there is none. */
static int get_list(struct source *source, const struct digest *manifest, struct manifest **ret)
{
	char tag[DIGEST_HEX_MAX + 16], hex[DIGEST_HEX_MAX + 1], content_type[128], text[REPORT_TEXT_SIZE], *outer;
	_cleanup_(bytes_free) struct bytes b = {0};
	struct digest got;
	int r;

	snprintf(tag, sizeof(tag), "%s-%s", digest_algorithm_name(manifest), digest_hex(manifest, hex));
	outer = report_capture(text);
	r = source_get_manifest(source, tag, NULL, &b, content_type, &got);
	if (r == 0)
		r = manifest_parse(b.data, b.size, content_type[0] ? content_type : NULL, tag, ret);
	report_capture_again(outer);
	return r < 0 && r != -ENOENT && text[0] ? fail(-r, "%s", text) : r;
}

static int keep(const struct store *s, const struct image *i, const struct digest *digest, const struct bytes *manifest)
{
	int r = blob_store_put(s, digest, manifest->data, manifest->size);

	return r < 0 ? r : artifacts_put(s, i->repository, &i->name.manifest, digest);
}

int lazy_find(struct context *c, const struct image *i, struct source *source, struct lazy_artifact **ret)
{
	_cleanup_(lazy_artifact_free) struct lazy_artifact *best = NULL;
	_cleanup_(manifest_free) struct manifest *list = NULL;
	_cleanup_(bytes_free) struct bytes best_bytes = {0};
	struct digest best_digest = {0};
	int r = get_list(source, &i->name.manifest, &list);

	for (size_t n = 0; r == 0 && n < list->n_entries; n++) {
		_cleanup_(lazy_artifact_free) struct lazy_artifact *a = NULL;
		_cleanup_(bytes_free) struct bytes b = {0};
		const struct digest *digest = &list->entries[n].descriptor.digest;

		if (digest->algorithm != DIGEST_SHA256)
			continue;
		r = get(source, digest, i, &b, &a);
		if (r == -EOPNOTSUPP || r == -ENOENT) {
			r = 0;
			continue;
		}
		if (r == 0 && is_newer(a, digest, best, &best_digest)) {
			lazy_artifact_free(&best);
			bytes_free(&best_bytes);
			best = TAKE(a);
			best_bytes = b;
			b = (struct bytes){0};
			best_digest = *digest;
		}
	}
	if (r == 0 && !best)
		r = -ENOENT;
	if (r == 0)
		r = keep(c->store, i, &best_digest, &best_bytes);
	if (r < 0)
		return r;
	*ret = TAKE(best);
	return 0;
}
