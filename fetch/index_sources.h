/* index_sources: from where a layer's index and spans can come without the layer itself, and making the layer of the first.
 *
 * Ownership  index_sources_find() fills what index_sources_free() empties; the rest is borrowed until then.
 * Units      -
 * Errors     -ENOENT: nothing has this layer, so it is to be streamed (bare; a source that is broken is noted in the log).
 *            With require_lazy what made the first one fail is reported. -ENOMEM, -ENOSPC, -EDQUOT: reported.
 * Threads    index_sources_make() may run for several layers side by side.
 * Source     docs/design.md, "What a start does", 2: the order.
 */
#pragma once

#include "base/report.h"
#include "fetch/image.h"
#include "fetch/source.h"
#include "format/lazy_artifact.h"
#include "format/soci_index.h"

struct index_sources {
	struct context *context;
	struct image *image; /* its search ends here */
	struct source *source;
	bool require_lazy;
	bool whole; /* every byte shall be verified against the diffIDs: nothing but streaming does that */
	struct lazy_artifact *artifact; /* of ours, when the image has one */
	struct soci_index *soci;	/* when the image has one */
	char why_not[REPORT_TEXT_SIZE]; /* there is neither */
};

/* Asks for what hangs on the image. What is broken is as good as none. */
int index_sources_find(struct index_sources *s);

/* What a start found before. */
void index_sources_known(struct index_sources *s);

/* Whether the layer has a table of its own, and needs nothing that hangs on the image. */
bool index_sources_has_table(const struct image_layer *l);

int index_sources_make(const struct index_sources *s, const struct image_layer *l);

/* Whether streaming this layer is what who made the image lazy has meant: SOCI indexes leave small layers out. */
bool index_sources_leave_out(const struct index_sources *s, const struct image_layer *l);

/* Why a layer has to be streamed. */
const char *index_sources_why_not(const struct index_sources *s);

void index_sources_free(struct index_sources *s);
