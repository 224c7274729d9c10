/* One thread that asks while others are asked for manifests and configs. */
#include "fetch/image_referrers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/thread.h"
#include "format/lazy_artifact.h"
#include "format/soci_index.h"

/* Others (signatures, attestations) are passed over, so that they do not count. */
static const char *const types[] = {LAZY_ARTIFACT_TYPE, SOCI_INDEX_TYPE_1, NULL};

struct image_referrers {
	struct source *source;
	struct digest manifest;
	pthread_t thread;
	int result;
	struct referrers *list;
	char text[REPORT_TEXT_SIZE];
};

int image_referrers_get(struct source *source, const struct digest *manifest, struct referrers **ret)
{
	return referrers_get(source, manifest, types, ret);
}

static void *search(void *argument)
{
	struct image_referrers *s = argument;

	report_capture(s->text);
	s->result = image_referrers_get(s->source, &s->manifest, &s->list);
	report_capture(NULL);
	return NULL;
}

void image_referrers_begin(struct source *source, const struct digest *manifest, struct image_referrers **ret)
{
	struct image_referrers *s = calloc(1, sizeof(*s));

	*ret = NULL;
	if (!s)
		return;
	s->source = source;
	s->manifest = *manifest;
	if (thread_start(&s->thread, search, s) == 0)
		*ret = s;
	else
		free(s);
}

int image_referrers_end(struct image_referrers **s, char text[static REPORT_TEXT_SIZE], struct referrers **ret)
{
	int r;

	pthread_join((*s)->thread, NULL);
	strcpy(text, (*s)->text);
	r = (*s)->result;
	if (r == 0)
		*ret = TAKE((*s)->list);
	free(*s);
	*s = NULL;
	return r;
}

void image_referrers_free(struct image_referrers **s)
{
	_cleanup_(referrers_free) struct referrers *list = NULL;
	char text[REPORT_TEXT_SIZE];

	if (*s)
		image_referrers_end(s, text, &list);
}
