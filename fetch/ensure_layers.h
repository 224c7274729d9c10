/* ensure_layers: makes all layers of an image be there: streams what is missing, in parallel, and
 * gives layers and image their numbers, from when on the server shows them.
 *
 * Ownership  Borrows everything for the call.
 * Units      Progress counts packed bytes.
 * Errors     Reported, with layer and place named. -ECANCELED: the listener is gone; what came stays for the next.
 * Threads    Any; makes worker threads for the call. `report` is called in the calling thread.
 * Source     docs/design.md, "What a start does", 2 to 4.
 */
#pragma once

#include "fetch/image.h"
#include "fetch/stream.h"

#define ENSURE_LAYERS_SMALL (128u << 10) /* packed: streaming it costs less than asking for its index */

/* Where progress goes: REPLY packets of this request. */
struct ensure_listener {
	int command_fd;
	uint32_t connection;
	bool wanted;
	const atomic_bool *gone; /* set when the command is: layers that no other request waits for are given up */
};

struct ensure_how {
	const char *command; /* what will run, by lazy_artifact_command(), for the start pack; NULL: the image's own */
	bool require_lazy;   /* fails rather than stream a layer that is not small */
	bool start;	     /* something will run: what it reads is noted, and what it read before comes early */
	bool whole;	     /* every byte shall be here, verified against the diffIDs */
};

/* `source` NULL: nothing may be asked of the registry. The image's layer keys become those that are used. */
int ensure_layers(struct context *c, struct image *image, struct source *source, const struct ensure_how *how,
		  const struct ensure_listener *listener);

/* Whether all of that is done already; waits for nobody, and says no when it would have to. */
bool ensure_layers_known(struct context *c, struct image *image, const struct ensure_how *how);
