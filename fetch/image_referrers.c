/* One thread that asks while others are asked for manifests and configs. */
#include "fetch/image_referrers.h"

#include <stdlib.h>

#include "base/beside.h"
#include "base/fd.h"
#include "format/lazy_artifact.h"
#include "format/soci_index.h"

/* Others (signatures, attestations) are passed over, so that they do not count. */
static const char *const types[] = {LAZY_ARTIFACT_TYPE, SOCI_INDEX_TYPE_1, NULL};

struct image_referrers {
	struct source *source;
	struct digest manifest;
	struct referrers *list;
	struct beside beside;
};

int image_referrers_get(struct source *source, const struct digest *manifest, struct referrers **ret)
{
	return referrers_get(source, manifest, types, ret);
}

static int search(void *argument)
{
	struct image_referrers *s = argument;

	return image_referrers_get(s->source, &s->manifest, &s->list);
}

void image_referrers_begin(struct source *source, const struct digest *manifest, struct image_referrers **ret)
{
	struct image_referrers *s = calloc(1, sizeof(*s));

	*ret = s;
	if (!s)
		return;
	s->source = source;
	s->manifest = *manifest;
	beside_begin(&s->beside, search, s);
}

int image_referrers_end(struct image_referrers **search, struct referrers **ret)
{
	struct image_referrers *s = TAKE(*search);
	int r = beside_report(&s->beside);

	if (r == 0)
		*ret = s->list;
	free(s);
	return r;
}

void image_referrers_free(struct image_referrers **search)
{
	struct image_referrers *s = TAKE(*search);

	if (!s)
		return;
	beside_end(&s->beside);
	referrers_free(&s->list);
	free(s);
}
