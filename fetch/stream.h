/* stream: one layer, from its packed blob to a complete layer in the store, in one pass.
 *
 * Two threads a layer: one follows the download, hashes the blob and decodes; the other hashes the
 * plain bytes, writes the layer file, parses the tar and cuts the spans.
 *
 * Ownership  Borrows everything in the job for the call.
 * Units      Progress counts packed bytes.
 * Errors     Reported without the layer's name; the caller adds it. Nothing is left behind on
 *            failure but the .part file of a download that was cut or stopped (it is continued next time).
 * Threads    Any number of layers at once; `decoders` bounds how many decode.
 * Source     docs/design.md, "What a start does", 3.
 */
#pragma once

#include <semaphore.h>
#include <stdatomic.h>

#include "cache/number_table.h"
#include "cache/store.h"
#include "fetch/source.h"

enum stream_state {
	STREAM_WAITING,
	STREAM_RUNNING,
	STREAM_DONE,
	STREAM_PRESENT,
};

struct stream_progress {
	_Atomic uint64_t done;
	_Atomic int state; /* enum stream_state */
	atomic_bool stop; /* set by whoever wanted it: it ends with -ECANCELED */
};

struct stream_job {
	const struct store *store;
	struct source *source;
	const char *repository; /* of source, as layer_sources has it */
	struct descriptor blob;
	struct digest diff_id; /* as the image config says */
	sem_t *decoders;
	struct stream_progress *progress;
};

/* The store's key of the layer whose plain bytes have this digest (policy "tar"). */
void stream_key(const struct digest *diff_id, char ret[static LAYER_KEY_SIZE]);

/* The file of a blob's packed bytes in the store's tmp. A compressed layer's stays there until its way back is made. */
#define STREAM_PART_SIZE (DIGEST_HEX_MAX + 8)
void stream_part_name(const struct digest *blob, char ret[static STREAM_PART_SIZE]);

int stream_layer(const struct stream_job *job);
