/* The first source that has the layer counts; one that fails leaves it to the next. */
#include "fetch/index_sources.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fetch/chunked_layer.h"
#include "fetch/ensure_layers.h"
#include "fetch/lazy.h"
#include "fetch/lazy_layer.h"

void index_sources_free(struct index_sources *s)
{
	lazy_artifact_free(&s->artifact);
}

bool index_sources_has_table(const struct image_layer *l)
{
	return l->table.kind != TOC_NONE;
}

int index_sources_find(struct index_sources *s)
{
	char text[REPORT_TEXT_SIZE] = "", *outer;
	int r;

	if (s->image->trust == IMAGE_TRUST_PINNED || s->whole) {
		snprintf(s->why_not, sizeof(s->why_not), "artifacts are not to be trusted (--trust=pinned)");
		return 0;
	}
	outer = report_capture(text);
	r = lazy_find(s->context, s->image, s->source, &s->artifact);
	report_capture_again(outer);
	if (r == -ENOMEM)
		return r;
	if (r == -ENOENT)
		snprintf(s->why_not, sizeof(s->why_not), "the image has no artifact; make one: lazyrun index --push %.512s",
			 s->image->name.reference);
	else if (r < 0)
		snprintf(s->why_not, sizeof(s->why_not), "%.1500s", text[0] ? text : strerror(-r));
	if (r < 0 && r != -ENOENT)
		report_note("%s is streamed: %s", s->image->name.reference, s->why_not);
	return 0;
}

void index_sources_known(struct index_sources *s)
{
	if (!s->whole && s->image->artifact.algorithm != DIGEST_NONE)
		lazy_known(s->context->store, s->image->repository, &s->image->name.manifest, NULL, &s->artifact);
}

/* A source has failed with `r` and `text`: -ENOENT lets the next one be tried. */
static int try_next(const struct index_sources *s, const struct image_layer *l, int r, const char *text)
{
	char digest[DIGEST_TEXT_MAX];

	if (r == 0)
		return 0;
	if (r == -ENOMEM || r == -ENOSPC || r == -EDQUOT)
		return fail(-r, "%s", text[0] ? text : strerror(-r));
	if (s->require_lazy)
		return fail(-r, "it would have to be streamed (--require-lazy): %.1500s", text);
	report_note("layer %.19s of %s cannot start lazily: %s", digest_text(&l->blob.digest, digest),
		    s->image->name.reference, text);
	return -ENOENT;
}

/* From the table of contents in its own blob. */
static int make_from_table(const struct index_sources *s, const struct image_layer *l)
{
	char text[REPORT_TEXT_SIZE], *outer;
	int r;

	if (!index_sources_has_table(l) || l->blob.size <= ENSURE_LAYERS_SMALL || s->image->trust == IMAGE_TRUST_WHOLE)
		return -ENOENT;
	outer = report_capture(text);
	r = chunked_layer_make(s->context, s->source, s->image->repository, s->image->name.reference, &l->blob, &l->table);
	report_capture_again(outer);
	return try_next(s, l, r, text);
}

/* From the artifact's index and spans, when it has them. */
static int make_from_artifact(const struct index_sources *s, const struct image_layer *l)
{
	const struct lazy_artifact_layer *from = s->artifact ? lazy_artifact_layer(s->artifact, &l->blob.digest) : NULL;
	char text[REPORT_TEXT_SIZE], *outer;
	int r;

	if (!from)
		return -ENOENT;
	outer = report_capture(text);
	r = lazy_layer_make(s->context, s->source, s->image->repository, &l->blob, from);
	report_capture_again(outer);
	return try_next(s, l, r, text);
}

int index_sources_make(const struct index_sources *s, const struct image_layer *l)
{
	int r = make_from_table(s, l);

	return r == -ENOENT ? make_from_artifact(s, l) : r;
}

const char *index_sources_why_not(const struct index_sources *s)
{
	return s->artifact ? "the image's artifact has nothing for it" : s->why_not;
}
