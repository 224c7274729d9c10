/* profile: which pages of an image's layers a start needed, in the order in which it first did.
 *
 * Layers are named by the UUIDs of their indexes: the same UUID, the same layout of the layer file, whatever vouches
 * for the layer by now. It only says what to ask for early, so one that is wrong costs bytes and nothing else.
 *
 * Ownership  profile_new() and profile_parse() hand over; profile_free() ends it. Nothing points into the caller's bytes.
 * Units      Pages of 4096 bytes of a layer file.
 * Errors     -EBADMSG: torn, or breaks the layout. -EFBIG: a limit. -ENOMEM. All bare.
 * Threads    The caller's business.
 * Source     docs/design.md, "What a start does" 5. Byte layout: profile.c.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define PROFILE_UUID_SIZE 16u
#define PROFILE_RUN_PAGES 256u

/* Pages [first, first + n) of one layer. */
struct profile_run {
	uint32_t layer; /* index into the profile's layers */
	uint32_t n;	/* 1 to PROFILE_RUN_PAGES */
	uint64_t first;
};

struct profile {
	uint8_t (*layers)[PROFILE_UUID_SIZE];
	struct profile_run *runs; /* room for LIMIT_PROFILE_RUNS when made by profile_new() */
	size_t n_layers, n_runs;
};

/* An empty one, with room for so many layers (at most LIMIT_LAYERS), whose UUIDs the caller writes. */
int profile_new(size_t n_layers, struct profile **ret);
void profile_free(struct profile **p);

/* -EFBIG: it is full. */
int profile_add(struct profile *p, uint32_t layer, uint64_t first, uint32_t n);

int profile_parse(const void *data, size_t size, struct profile **ret);
int profile_write(const struct profile *p, struct bytes *ret);

/* The longest that profile_write() makes. */
#define PROFILE_SIZE_MAX (64u + LIMIT_LAYERS * PROFILE_UUID_SIZE + LIMIT_PROFILE_RUNS * 16u)
