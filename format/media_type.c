/* One table: every name there is for what an image consists of. */
#include "format/media_type.h"

#include <string.h>

/* The first name of each type is OCI's. */
static const struct {
	const char *text;
	enum media_type type;
} names[] = {
	{"application/vnd.oci.image.index.v1+json", MEDIA_INDEX},
	{"application/vnd.oci.image.manifest.v1+json", MEDIA_MANIFEST},
	{"application/vnd.oci.image.config.v1+json", MEDIA_CONFIG},
	{"application/vnd.oci.image.layer.v1.tar", MEDIA_LAYER_TAR},
	{"application/vnd.oci.image.layer.v1.tar+gzip", MEDIA_LAYER_TAR_GZIP},
	{"application/vnd.oci.image.layer.v1.tar+zstd", MEDIA_LAYER_TAR_ZSTD},
	{"application/vnd.oci.image.layer.nondistributable.v1.tar", MEDIA_LAYER_TAR},
	{"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", MEDIA_LAYER_TAR_GZIP},
	{"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", MEDIA_LAYER_TAR_ZSTD},
	{"application/vnd.docker.distribution.manifest.list.v2+json", MEDIA_INDEX},
	{"application/vnd.docker.distribution.manifest.v2+json", MEDIA_MANIFEST},
	{"application/vnd.docker.container.image.v1+json", MEDIA_CONFIG},
	{"application/vnd.docker.image.rootfs.diff.tar", MEDIA_LAYER_TAR},
	{"application/vnd.docker.image.rootfs.diff.tar.gzip", MEDIA_LAYER_TAR_GZIP},
	{"application/vnd.docker.image.rootfs.diff.tar.zstd", MEDIA_LAYER_TAR_ZSTD},
	{"application/vnd.docker.image.rootfs.foreign.diff.tar", MEDIA_LAYER_TAR},
	{"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", MEDIA_LAYER_TAR_GZIP},
	{"application/vnd.docker.image.rootfs.foreign.diff.tar.zstd", MEDIA_LAYER_TAR_ZSTD},
};

size_t media_type_size(const char *text)
{
	return strcspn(text, "; \t");
}

enum media_type media_type_parse(const char *text)
{
	size_t size = media_type_size(text);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i].text) == size && memcmp(names[i].text, text, size) == 0)
			return names[i].type;
	return MEDIA_OTHER;
}

const char *media_type_text(enum media_type type)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].type == type)
			return names[i].text;
	return "application/octet-stream";
}

bool media_type_is_layer(enum media_type type)
{
	return type == MEDIA_LAYER_TAR || type == MEDIA_LAYER_TAR_GZIP || type == MEDIA_LAYER_TAR_ZSTD;
}
