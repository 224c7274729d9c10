/* referrers: the manifests that name another one as their `subject`: listing them, and adding one.
 *
 * A registry without the referrers API has them listed under a tag made from the subject's digest; a layout, in its
 * index.json. Callers see no difference.
 *
 * Ownership  referrers_get() hands over; referrers_free() ends it with every text in it.
 * Units      Sizes count bytes.
 * Errors     As in source.h, reported. No referrers is no error. -EBADMSG: not a list of descriptors; -EFBIG: more than
 *            LIMIT_REFERRERS.
 * Threads    Any. A list never changes.
 * Source     distribution-spec "Listing Referrers", "Pushing Manifests with Subject", "Referrers Tag Schema".
 */
#pragma once

#include <json-c/json_object.h>
#include <stddef.h>
#include <stdint.h>

#include "fetch/source.h"

struct referrer {
	struct digest digest;
	uint64_t size;
	const char *media_type, *artifact_type; /* "" when there is none */
	struct json_object *annotations;	/* NULL when there are none */
};

struct referrers {
	struct referrer *list; /* in the registry's order */
	size_t n;
	struct json_object *documents; /* all texts are theirs */
};

/* Those of these artifact types (NULL-terminated; NULL: all). The registry is not asked to filter: one answer serves all. */
int referrers_get(struct source *s, const struct digest *subject, const char *const *types, struct referrers **ret);
void referrers_free(struct referrers **r);

/* "" when there is no such annotation. */
const char *referrers_annotation(const struct referrer *r, const char *key);

/* Pushes a manifest that names a subject, by digest, and makes sure that it is listed: where the registry has no
 * referrers API, by its tag, read back until the entry is there. */
int referrers_push(struct source *s, const char *media_type, const void *data, size_t size, struct digest *ret_digest);

/* For the fuzz target: appends what an index lists. */
int referrers_parse(const void *data, size_t size, const char *name, const char *const *types, struct referrers *to);
