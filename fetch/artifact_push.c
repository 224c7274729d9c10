/* Blobs come from the store's blobs, where who makes the artifact has put them. */
#include "fetch/artifact_push.h"

#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/report.h"
#include "cache/blob_store.h"
#include "fetch/layout_put.h"
#include "fetch/push.h"
#include "format/lazy_artifact.h"
#include "format/media_type.h"

void artifact_push_subject_free(struct artifact_subject *s)
{
	bytes_free(&s->manifest);
}

/* As the manifest itself says; those that say nothing are OCI's. */
static void take_type(struct artifact_subject *s)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	const char *type = media_type_text(MEDIA_MANIFEST);

	if (json_field_parse(s->manifest.data, s->manifest.size, &o) == 0)
		json_field_string(o, "mediaType", &type);
	if (strlen(type) < sizeof(s->type))
		strcpy(s->type, type);
}

int artifact_push_subject(const struct store *s, const struct image *i, struct artifact_subject *ret)
{
	int r = blob_store_get(s, &i->name.manifest, LIMIT_MANIFEST_SIZE, &ret->manifest);

	if (r < 0)
		return r == -ENOENT ? fail(ENOENT, "the image's manifest is gone from the store; try again") : r;
	ret->digest = i->name.manifest;
	ret->size = ret->manifest.size;
	take_type(ret);
	return 0;
}

int artifact_push_open(struct context *c, const struct source *source, struct json_object *answer, struct source **ret)
{
	struct reference ref;
	int r;

	*ret = NULL;
	if (!source_layout(source))
		return 0;
	r = layout_put_stage(c->store, &ref);
	if (r < 0)
		return r;
	json_object_object_add(answer, "staged", json_object_new_string(ref.path));
	return source_open(c->transport, &ref, NULL, ret);
}

int artifact_push_blob(const struct store *s, struct source *to, const struct digest *digest, uint64_t *sent)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	bool was_sent = false;
	int r;

	if (digest->algorithm == DIGEST_NONE)
		return 0;
	r = blob_store_get(s, digest, SIZE_MAX, &b);
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = push_blob(to, digest, &(struct transport_upload){.data = b.data, .size = b.size, .fd = -1}, NULL, &was_sent);
	if (was_sent)
		*sent += b.size;
	return r;
}

int artifact_push_config(struct source *to)
{
	struct digest digest;
	int r = digest_parse(LAZY_ARTIFACT_CONFIG_DIGEST, strlen(LAZY_ARTIFACT_CONFIG_DIGEST), &digest);

	return r < 0 ? r : push_blob(to, &digest,
				     &(struct transport_upload){.data = LAZY_ARTIFACT_CONFIG,
								.size = strlen(LAZY_ARTIFACT_CONFIG),
								.fd = -1},
				     NULL, NULL);
}
