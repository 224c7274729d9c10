/* wide: a large blob by several connections side by side, where that is faster than one.
 *
 * One blob at a time, so that memory is bounded; the others' connections fill the link beside it.
 *
 * Ownership  Borrows everything for the call.
 * Units      Bytes.
 * Errors     As registry_stream().
 * Threads    Any; it makes up to three more meanwhile.
 * Source     docs/design.md, "What a start does".
 */
#pragma once

#include "fetch/registry.h"

/* Writes bytes [from, size) of the blob to the same place in fd, in order; see registry_stream(). */
int wide_stream(struct registry *g, const struct descriptor *d, int fd, uint64_t from, struct transport_watch *watch);
