/* What hangs on the image is asked for side by side. The first source that has a layer counts; one that fails leaves it
 * to the next. */
#include "fetch/index_sources.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/beside.h"
#include "base/fd.h"
#include "fetch/chunked_layer.h"
#include "fetch/ensure_layers.h"
#include "fetch/image_referrers.h"
#include "fetch/lazy.h"
#include "fetch/lazy_layer.h"
#include "fetch/soci.h"
#include "fetch/soci_layer.h"

void index_sources_free(struct index_sources *s)
{
	lazy_artifact_free(&s->artifact);
	soci_index_free(&s->soci);
}

bool index_sources_has_table(const struct image_layer *l)
{
	return l->table.kind != TOC_NONE;
}

struct asked {
	struct index_sources *sources;
	const struct referrers *list; /* of the image; NULL: not known */
	struct beside beside;
};

static int find_soci(void *argument)
{
	const struct asked *a = argument;
	struct index_sources *s = a->sources;

	return soci_find(s->context, s->image, s->source, a->list, &s->soci);
}

/* The list, which may have been begun beside the config. What goes wrong is the artifact's, to be said once. */
static void get_list(struct asked *a, struct referrers **ret)
{
	struct index_sources *s = a->sources;

	if (s->image->referrers)
		a->beside.result = image_referrers_end(&s->image->referrers, ret);
	else if (s->image->trust == IMAGE_TRUST_REPOSITORY)
		a->beside.result = image_referrers_get(s->source, &s->image->name.manifest, ret);
	a->list = *ret;
}

/* A SOCI index that the image names itself needs no list, and is asked for beside it. */
static void find_both(struct asked *soci, struct asked *artifact)
{
	_cleanup_(referrers_free) struct referrers *list = NULL;
	struct index_sources *s = soci->sources;
	char *outer = report_capture(artifact->beside.text);
	const bool named = s->image->soci_v2.algorithm != DIGEST_NONE;

	if (!named)
		get_list(artifact, &list);
	soci->list = list;
	beside_begin(&soci->beside, find_soci, soci);
	if (named)
		get_list(artifact, &list);
	if (list)
		artifact->beside.result = lazy_find(s->context, s->image, s->source, list, &s->artifact);
	beside_end(&soci->beside);
	report_capture_again(outer);
}

/* What failed is said in the log, and when a layer may not be streamed. */
static void say(struct index_sources *s, const struct asked *a)
{
	const struct beside *b = &a->beside;
	const char *text = b->text[0] ? b->text : strerror(-b->result);

	if (b->result == 0 || (b->result == -ENOENT && !b->text[0]))
		return;
	report_note("%s starts without it: %s", s->image->name.reference, text);
	snprintf(s->why_not, sizeof(s->why_not), "%.1500s", text);
}

int index_sources_find(struct index_sources *s)
{
	struct asked soci = {.sources = s}, artifact = {.sources = s, .beside.result = -ENOENT};

	if (s->image->trust != IMAGE_TRUST_REPOSITORY || s->whole)
		snprintf(s->why_not, sizeof(s->why_not), "artifacts are not to be trusted (--trust=pinned)");
	else
		snprintf(s->why_not, sizeof(s->why_not), "the image has no artifact; make one: lazyrun index --push %.512s",
			 s->image->name.reference);
	if (s->whole)
		return 0;
	find_both(&soci, &artifact);
	if (soci.beside.result == -ENOMEM || artifact.beside.result == -ENOMEM)
		return -ENOMEM;
	say(s, &soci);
	say(s, &artifact);
	return 0;
}

void index_sources_known(struct index_sources *s)
{
	if (!s->whole && s->image->artifact.algorithm != DIGEST_NONE)
		lazy_known(s->context->store, s->image->repository, &s->image->name.manifest, NULL, &s->artifact);
}

/* From the table of contents in its own blob. */
static int make_from_table(const struct index_sources *s, const struct image_layer *l)
{
	if (!index_sources_has_table(l) || l->blob.size <= ENSURE_LAYERS_SMALL || s->image->trust == IMAGE_TRUST_WHOLE)
		return -ENOENT;
	return chunked_layer_make(s->context, s->source, s->image->repository, s->image->name.reference, &l->blob,
				  &l->table);
}

/* From its zTOC in a SOCI index of this version. */
static int make_from_soci(const struct index_sources *s, const struct image_layer *l, unsigned int version)
{
	const struct soci_index_layer *from =
		s->soci && s->soci->version == version ? soci_index_layer(s->soci, &l->blob.digest) : NULL;

	return from ? soci_layer_make(s->context, s->source, s->image->repository, &l->blob, s->soci, from) : -ENOENT;
}

/* From the artifact's index and spans. */
static int make_from_artifact(const struct index_sources *s, const struct image_layer *l)
{
	const struct lazy_artifact_layer *from = s->artifact ? lazy_artifact_layer(s->artifact, &l->blob.digest) : NULL;

	return from ? lazy_layer_make(s->context, s->source, s->image->repository, &l->blob, from) : -ENOENT;
}

/* The order is the design's. -ENOENT: it does not have the layer. */
static int make_from(const struct index_sources *s, const struct image_layer *l, unsigned int which)
{
	switch (which) {
	case 0:
		return make_from_table(s, l);
	case 1:
		return make_from_soci(s, l, 2);
	case 2:
		return make_from_artifact(s, l);
	default:
		return make_from_soci(s, l, 1);
	}
}
#define N_SOURCES 4u

static bool ends_all(int r)
{
	return r == -ENOMEM || r == -ENOSPC || r == -EDQUOT || r == -ECANCELED;
}

int index_sources_make(const struct index_sources *s, const struct image_layer *l)
{
	char first[REPORT_TEXT_SIZE] = "", digest[DIGEST_TEXT_MAX];
	int failed = 0;

	for (unsigned int which = 0; which < N_SOURCES; which++) {
		char text[REPORT_TEXT_SIZE] = "", *outer = report_capture(text);
		int r = make_from(s, l, which);

		report_capture_again(outer);
		if (r == 0)
			return 0;
		if (ends_all(r))
			return fail(-r, "%s", text[0] ? text : strerror(-r));
		if (r == -ENOENT && !text[0])
			continue;
		report_note("layer %.19s of %s cannot start lazily: %s", digest_text(&l->blob.digest, digest),
			    s->image->name.reference, text[0] ? text : strerror(-r));
		if (!failed) {
			failed = r;
			snprintf(first, sizeof(first), "%.1500s", text[0] ? text : strerror(-r));
		}
	}
	if (failed && s->require_lazy)
		return fail(-failed, "it would have to be streamed (--require-lazy): %s", first);
	return -ENOENT;
}

bool index_sources_leave_out(const struct index_sources *s, const struct image_layer *l)
{
	return l->blob.size <= ENSURE_LAYERS_SMALL || (s->soci && l->blob.size < SOCI_INDEX_SMALL);
}

const char *index_sources_why_not(const struct index_sources *s)
{
	return s->artifact ? "the image's artifact has nothing for it" :
	       s->soci	   ? "the image's SOCI index leaves it out" :
			     s->why_not;
}
