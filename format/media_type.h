/* media_type: which kind of document or layer a media type names; OCI's and docker's names are equal.
 *
 * Ownership  Static texts.
 * Units      -
 * Errors     None: what is not known is MEDIA_OTHER.
 * Threads    Any.
 * Source     image-spec media-types.md; docker image-manifest-v2-2, "Media Types".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum media_type {
	MEDIA_OTHER,
	MEDIA_INDEX,	      /* OCI index, docker manifest list */
	MEDIA_MANIFEST,	      /* OCI manifest, docker v2 manifest */
	MEDIA_CONFIG,	      /* OCI and docker image config */
	MEDIA_LAYER_TAR,      /* uncompressed; OCI, docker, non-distributable forms alike */
	MEDIA_LAYER_TAR_GZIP,
	MEDIA_LAYER_TAR_ZSTD,
};

/* Without parameters ("; charset=..."), case as the specifications write it. */
enum media_type media_type_parse(const char *text);
const char *media_type_text(enum media_type type); /* the OCI name */
bool media_type_is_layer(enum media_type type);

/* How many bytes of a Content-Type are the type itself, without parameters and white space. */
size_t media_type_size(const char *text);
