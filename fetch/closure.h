/* closure: what a program needs before its first instruction: its interpreter, its libraries and theirs.
 *
 * They are resolved in the image's tree as the dynamic linker will, and asked for side by side, where the linker
 * would read one after the other.
 *
 * Ownership  Borrows context and fill, which live as long as the process.
 * Units      Bytes of the layer file.
 * Errors     None: what cannot be found is fetched when it is read.
 * Threads    closure_begin(): any, never waits; a thread of its own for each program, a few at a time.
 * Source     ld.so(8); docs/design.md, "What is fetched before it is asked for".
 */
#pragma once

#include <stdbool.h>

#include "fetch/fill.h"

/* This command of an image starts, whose layers are numbered: `path` is where a name without '/' is looked for. */
void closure_begin_command(struct context *c, struct fill *fill, const char *image_key, const char *path, const char *command);

/* The file at `off` of this layer was executed; or, a library, is opened while its program runs. */
void closure_begin(struct context *c, struct fill *fill, uint32_t layer_number, uint64_t off, uint64_t size, bool library);
