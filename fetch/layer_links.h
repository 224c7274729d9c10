/* layer_links: what the programs and libraries of a layer load, from its link table, else from their bytes.
 *
 * Ownership  layer_links_make() hands over bytes.
 * Units      Bytes of the layer file.
 * Errors     layer_links_make(): -EAGAIN: the layer's bytes are not all here. -ENOMEM. Bare.
 * Threads    Any.
 * Source     docs/design.md, "What is fetched before it is asked for".
 */
#pragma once

#include "base/bytes.h"
#include "cache/layer_store.h"
#include "format/elf.h"

/* The link table of a layer whose bytes are here. */
int layer_links_make(const struct layer_store *layer, struct bytes *ret);

/* Where the file's segments and unwind tables lie; false: it is no program, or nobody knows yet. */
bool layer_links_head(const struct layer_store *layer, uint64_t file_off, uint64_t file_size, struct elf_head *ret);
