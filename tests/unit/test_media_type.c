/* media_type knows OCI's and docker's names, without parameters, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "format/media_type.h"

static void knows_both_families(void **state)
{
	static const struct {
		const char *text;
		enum media_type type;
	} cases[] = {
		{"application/vnd.oci.image.index.v1+json", MEDIA_INDEX},
		{"application/vnd.docker.distribution.manifest.list.v2+json", MEDIA_INDEX},
		{"application/vnd.oci.image.manifest.v1+json", MEDIA_MANIFEST},
		{"application/vnd.oci.image.manifest.v1+json; charset=utf-8", MEDIA_MANIFEST},
		{"application/vnd.oci.image.manifest.v1+json;charset=utf-8", MEDIA_MANIFEST},
		{"application/vnd.docker.distribution.manifest.v2+json", MEDIA_MANIFEST},
		{"application/vnd.docker.distribution.manifest.v1+json", MEDIA_OTHER},
		{"application/vnd.docker.distribution.manifest.v1+prettyjws", MEDIA_OTHER},
		{"application/vnd.oci.image.config.v1+json", MEDIA_CONFIG},
		{"application/vnd.docker.container.image.v1+json", MEDIA_CONFIG},
		{"application/vnd.oci.image.layer.v1.tar", MEDIA_LAYER_TAR},
		{"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", MEDIA_LAYER_TAR_ZSTD},
		{"application/vnd.docker.image.rootfs.diff.tar.gzip", MEDIA_LAYER_TAR_GZIP},
		{"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", MEDIA_LAYER_TAR_GZIP},
		{"application/vnd.docker.image.rootfs.diff.tar.zstd", MEDIA_LAYER_TAR_ZSTD},
		{"application/vnd.oci.image.layer.v1.tar+gzip+encrypted", MEDIA_OTHER},
		{"application/vnd.oci.image.layer.v1.tar+", MEDIA_OTHER},
		{"Application/vnd.oci.image.layer.v1.tar", MEDIA_OTHER},
		{"", MEDIA_OTHER},
		{";", MEDIA_OTHER},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(media_type_parse(cases[i].text), cases[i].type);
}

static void writes_the_oci_name(void **state)
{
	(void)state;
	assert_string_equal(media_type_text(MEDIA_LAYER_TAR_ZSTD), "application/vnd.oci.image.layer.v1.tar+zstd");
	for (enum media_type t = MEDIA_INDEX; t <= MEDIA_LAYER_TAR_ZSTD; t++)
		assert_int_equal(media_type_parse(media_type_text(t)), t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_both_families),
		cmocka_unit_test(writes_the_oci_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
