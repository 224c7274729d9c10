/* ensure_layers: makes all layers of an image be there: streams what is missing, in parallel, and
 * gives layers and image their numbers, from when on the server shows them.
 *
 * Ownership  Borrows everything for the call.
 * Units      Progress counts packed bytes.
 * Errors     Reported, with layer and place named.
 * Threads    Any; makes worker threads for the call. `report` is called in the calling thread.
 * Source     docs/design.md, "What a start does", 2 to 4.
 */
#pragma once

#include "fetch/image.h"
#include "fetch/stream.h"

/* Where progress goes: REPLY packets of this request. */
struct ensure_listener {
	int command_fd;
	uint32_t connection;
	bool wanted;
};

/* `source` NULL: nothing may be asked of the registry. */
int ensure_layers(struct context *c, const struct image *image, const struct reference *ref, struct source *source,
		  const struct ensure_listener *listener);

/* Whether all of that is done already; waits for nobody, and says no when it would have to. */
bool ensure_layers_known(struct context *c, const struct image *image);
