/* layer_builder: the members of a layer, as they pass, become its layer index.
 *
 * Applies what overlayfs and the image-spec say of a layer's members: later ones win, whiteouts,
 * opaque marks, implied parents, hard links; refuses names that climb and what the design forbids.
 *
 * Ownership  layer_builder_new() hands over; layer_builder_free() ends it. Memory is one arena that
 *            goes back to the kernel with it (mmap), some 200 bytes an entry.
 * Units      Offsets count bytes of the layer file, which is the plain tar stream and, behind it,
 *            sparse members expanded, each at a multiple of 4096.
 * Errors     -EBADMSG, -EFBIG, -ENOMEM: reported with the member's name.
 * Threads    One thread at a time.
 * Source     image-spec layer.md; overlayfs.rst; KERNEL.md F.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "format/tar.h"

struct layer_builder;

int layer_builder_new(struct layer_builder **ret);
void layer_builder_free(struct layer_builder **b);

int layer_builder_add(struct layer_builder *b, const struct tar_member *m);

/* The most memory that names and xattrs may take when `passed` bytes of the tar have passed. */
uint64_t layer_builder_allowed(uint64_t passed);

/* The members of a tar stream, as it passes in pieces. */
int layer_builder_feed(struct layer_builder *b, struct tar *t, const uint8_t *data, size_t size);

/* After the last member. `tar_size` is the size of the whole plain stream. Lays everything out; from
 * here on no add. */
int layer_builder_finish(struct layer_builder *b, uint64_t tar_size, uint64_t *ret_index_size,
			 uint64_t *ret_layer_file_size);

/* Parts of the tar stream that must also stand elsewhere in the layer file (sparse members).
 * *cookie starts at 0. Returns 1 with a copy to make, 0 at the end. */
struct layer_copy {
	uint64_t from_off;
	uint64_t to_off;
	uint64_t size;
};
int layer_builder_copy(const struct layer_builder *b, uint64_t *cookie, struct layer_copy *ret);

/* Writes the index into `out`, index_size bytes that are all zero (a fresh file mapping). The same
 * members give the same bytes everywhere. */
void layer_builder_render(const struct layer_builder *b, void *out);
