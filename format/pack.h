/* pack: a start pack: the pages that a program touches while it starts, frame by frame in the order of first touch.
 *
 * A head, then zstd frames of at most 2 MiB plain each. The head names the layer indexes that the pack
 * was recorded on, and for each frame its digest and the pages it holds; who has checked the head's own
 * digest can use each frame as it arrives.
 *
 * Ownership  pack_parse() hands over; pack_free() ends it. Nothing points into the caller's bytes.
 * Units      Pages of 4096 bytes of a layer file. The last page of a layer file is padded with zeros.
 * Errors     -EBADMSG: breaks the layout, or a frame its digest. -EFBIG: a limit. -ENOMEM. All bare.
 * Threads    A parsed pack never changes. A builder belongs to one thread.
 * Source     docs/design.md, "Our own artifact". Byte layout: pack.c.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/digest.h"

#define PACK_PAGE 4096u
#define PACK_FRAME_SIZE (2u << 20) /* plain bytes of one frame, at most; half of it packs 2 % worse */
#define PACK_FRAME_PACKED_MAX (PACK_FRAME_SIZE + (4u << 10))
#define PACK_HEAD_MAX (64u << 20)

/* Pages [first, first + n) of one layer. */
struct pack_run {
	uint32_t layer; /* index into the pack's layers */
	uint32_t n;
	uint64_t first;
};

struct pack_frame {
	uint64_t off; /* in the pack's blob */
	uint32_t packed_size, n_pages;
	uint32_t n_runs;
	const struct pack_run *runs;
	struct digest digest; /* sha256 of the packed bytes */
};

struct pack;

/* `head`: the first bytes of a blob of `blob_size` bytes, already checked against the digest that is trusted. */
int pack_parse(const void *head, size_t head_size, uint64_t blob_size, struct pack **ret);
void pack_free(struct pack **p);

size_t pack_n_layers(const struct pack *p);
/* The digest of the layer index (its blob in the artifact) that the pages of this layer were recorded on. */
const struct digest *pack_layer(const struct pack *p, size_t i);
size_t pack_n_frames(const struct pack *p);
void pack_frame_get(const struct pack *p, size_t i, struct pack_frame *ret);

/* Checks the frame's packed bytes, then unpacks n_pages * PACK_PAGE bytes: the runs' pages in order. */
int pack_frame_open(const struct pack_frame *f, const void *packed, size_t size, uint8_t *plain);

struct pack_builder;

int pack_builder_new(const struct digest *layers, size_t n_layers, struct pack_builder **ret);
void pack_builder_free(struct pack_builder **b);

/* The next page in order of first touch (in its frame they lie in the order of their layers); `data` is PACK_PAGE bytes. */
int pack_builder_add(struct pack_builder *b, uint32_t layer, uint64_t page, const void *data);

/* The whole blob, and how much of it is the head. */
int pack_builder_finish(struct pack_builder *b, struct bytes *ret, size_t *ret_head_size);
