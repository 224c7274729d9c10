/* image: what a name means: manifest, config and ordered layers for one platform, checked.
 *
 * Ownership  image_resolve() hands over; image_free() ends it.
 * Units      Sizes are packed bytes.
 * Errors     Reported. -ENOENT with IMAGE_LOCAL and nothing in the store is reported too.
 * Threads    Any thread; a resolved image never changes.
 * Source     docs/design.md, "What a start does", 1.
 */
#pragma once

#include "cache/names.h"
#include "fetch/context.h"
#include "format/image_config.h"
#include "format/manifest.h"
#include "format/reference.h"

enum image_pull {
	IMAGE_PULL_MISSING, /* what the store says the name meant last time is good */
	IMAGE_PULL_ALWAYS,
	IMAGE_PULL_NEVER,   /* no request at all */
};

/* Whose word counts for where a layer's bytes are (docs/design.md, "Trust"). */
enum image_trust {
	IMAGE_TRUST_REPOSITORY, /* an artifact of the image's own repository too */
	IMAGE_TRUST_PINNED,	/* nothing but what manifest and config name by digest */
	IMAGE_TRUST_WHOLE,	/* only layers that were verified whole against their diffIDs */
};

/* What vouches for the layer's directory that is used. */
enum image_layer_from {
	IMAGE_LAYER_TAR,      /* the whole layer was streamed and matched its diffID, or is to be streamed */
	IMAGE_LAYER_TABLE,    /* the table of contents in its own blob, whose digest the manifest names */
	IMAGE_LAYER_ARTIFACT, /* layer index and span table of our artifact in the image's repository */
	IMAGE_LAYER_SOCI,     /* its zTOC in a SOCI index: version 2, or one in the image's repository (version 1) */
};

struct image_layer {
	struct descriptor blob;
	struct digest diff_id;
	struct toc_place table; /* TOC_NONE: it has none that the manifest vouches for */
	enum image_layer_from from;
	char key[LAYER_KEY_SIZE];
};

struct image_referrers;

struct image {
	struct name_entry name;
	struct digest config;
	char key[IMAGE_KEY_SIZE]; /* hash of the ordered layer keys */
	uint32_t number;	  /* in the number table; 0: not there yet */
	struct image_layer *layers;
	size_t n_layers;
	enum image_trust trust;
	char repository[LIMIT_PATH_SIZE + 512]; /* source_table_name() of where it comes from */
	char **command;	    /* the image's own argv: entrypoint and cmd; NULL-terminated */
	size_t n_entrypoint; /* of it */
	char *path;	    /* where a command without '/' is looked for: PATH of its config, or the usual one */
	char *created;	    /* as its config says, or "" */
	struct image_referrers *referrers; /* being asked for, begun beside the config; NULL: not */
	struct digest artifact; /* the manifest of ours that is known for it; DIGEST_NONE: none */
	struct digest soci_v2;	/* the SOCI index that it names itself; DIGEST_NONE: none */
	struct digest soci;	/* the SOCI index that is known for it, of either version; DIGEST_NONE: none */
};

struct image_want {
	const struct reference *ref;
	const char *platform; /* NULL: this machine's */
	enum image_pull pull;
	enum image_trust trust;
	bool layers; /* they will be made: what refers to the image is asked for already beside the config */
};

/* `source` may be NULL with IMAGE_PULL_NEVER. */
int image_resolve(struct context *c, const struct image_want *want, struct source *source, struct image **ret);

/* Where a layer comes from: "tar", "artifact", "soci", or the name of its table's format. */
const char *image_layer_origin(const struct image_layer *l);

/* Chooses each layer's key anew from what the store has: a layer that was verified whole first, then one from its own
 * table, of a SOCI index that the image names, of the artifact that is known for the image, of a SOCI index beside it;
 * each if it may be trusted. Else it is to be streamed. */
int image_choose_layers(struct context *c, struct image *i);
void image_free(struct image **i);
