/* manifest takes OCI's and docker's documents, and says of others what they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/report.h" /* before cmocka.h, which makes fail() a macro */
#include "format/manifest.h"

#include <cmocka.h>

#define HEX64 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define OCI "application/vnd.oci.image."
#define DOCKER "application/vnd.docker."
#define D(type, size) "{\"mediaType\":\"" type "\",\"digest\":\"sha256:" HEX64 "\",\"size\":" #size "}"
#define CONFIG D(OCI "config.v1+json", 7)
#define GZIP D(OCI "layer.v1.tar+gzip", 9)
#define M2 "{\"schemaVersion\":2,"
#define IMAGE(more) M2 more "\"config\":" CONFIG ",\"layers\":[" GZIP "]}"
#define ENTRY(platform) \
	"{\"mediaType\":\"" OCI "manifest.v1+json\",\"digest\":\"sha256:" HEX64 "\",\"size\":5" platform "}"
#define PLATFORM(os, arch, more) ",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" arch "\"" more "}"
#define INDEX(entries) M2 "\"manifests\":[" entries "]}"

static int parse(const char *text, const char *content_type, struct manifest **ret, char said[REPORT_TEXT_SIZE])
{
	int r;

	report_capture(said);
	r = manifest_parse(text, strlen(text), content_type, "app:1", ret);
	report_capture(NULL);
	return r;
}

static void takes_images(void **state)
{
	static const struct {
		const char *text, *content_type;
		size_t n_layers;
	} cases[] = {
		{IMAGE(""), NULL, 1},
		{IMAGE(""), OCI "manifest.v1+json", 1},
		{IMAGE(""), OCI "manifest.v1+json; charset=utf-8", 1},
		{IMAGE("\"mediaType\":\"" OCI "manifest.v1+json\","), OCI "manifest.v1+json ;x=y", 1},
		{IMAGE("\"mediaType\":\"" OCI "manifest.v1+json\","), "text/plain; charset=utf-8", 1},
		{IMAGE("\"mediaType\":null,\"artifactType\":null,\"manifests\":null,"), "", 1},
		{IMAGE("\"artifactType\":\"x/y\","), NULL, 1}, /* everything else says it is one */
		{M2 "\"config\":" CONFIG ",\"layers\":[]}", NULL, 0},
		{"{\"config\":" CONFIG ",\"layers\":[]}", OCI "manifest.v1+json", 0},
		{M2 "\"config\":" CONFIG ",\"layers\":[" GZIP "," GZIP "," GZIP "]}", NULL, 3},
		{M2 "\"config\":" D("application/octet-stream", 7) ",\"layers\":[" GZIP "]}", NULL, 1},
		{M2 "\"mediaType\":\"" DOCKER "distribution.manifest.v2+json\",\"config\":" D(
			 DOCKER "container.image.v1+json", 7) ",\"layers\":[" D(DOCKER "image.rootfs.diff.tar.gzip", 1) "," D(
			 DOCKER "image.rootfs.foreign.diff.tar.gzip", 0) "]}",
		 DOCKER "distribution.manifest.v2+json", 2},
	};
	char said[REPORT_TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct manifest *m = NULL;

		if (parse(cases[i].text, cases[i].content_type, &m, said) != 0)
			fail_msg("case %zu: %s", i, said);
		assert_false(m->is_index);
		assert_int_equal(m->n_layers, cases[i].n_layers);
		assert_int_equal(m->config.size, 7);
		assert_int_equal(m->config.digest.algorithm, DIGEST_SHA256);
		manifest_free(&m);
		assert_null(m);
	}
}

static void refuses_and_says_why(void **state)
{
	static const struct {
		const char *text, *content_type;
		int result;
		const char *said;
	} cases[] = {
		{"", NULL, -EBADMSG, "not a JSON object"},
		{"<html>", NULL, -EBADMSG, "login page"},
		{"[]", NULL, -EBADMSG, "not a JSON object"},
		{"{}", NULL, -EBADMSG, "neither layers nor manifests"},
		{IMAGE("") "x", NULL, -EBADMSG, "not a JSON object"},
		{"{\"schemaVersion\":1,\"fsLayers\":[]}", DOCKER "distribution.manifest.v1+prettyjws", -EOPNOTSUPP,
		 "schema 1"},
		{"{\"schemaVersion\":1}", "application/json", -EOPNOTSUPP, "schema 1"},
		{IMAGE("\"fsLayers\":[],"), NULL, -EOPNOTSUPP, "schema 1"},
		{IMAGE("\"schemaVersion\":3,"), NULL, -EBADMSG, "schemaVersion is not 2"},
		{IMAGE("\"schemaVersion\":\"2\","), NULL, -EBADMSG, "schemaVersion is not 2"},
		{IMAGE("\"manifests\":[],"), NULL, -EBADMSG, "CVE-2021-41190"},
		{IMAGE("\"manifests\":[],"), OCI "manifest.v1+json", -EBADMSG, "CVE-2021-41190"},
		{M2 "\"layers\":[],\"manifests\":[]}", OCI "index.v1+json", -EBADMSG, "CVE-2021-41190"},
		{IMAGE(""), OCI "index.v1+json", -EBADMSG, "what the other kind has"},
		{INDEX(""), OCI "manifest.v1+json", -EBADMSG, "what the other kind has"},
		{IMAGE("\"mediaType\":\"" OCI "manifest.v1+json\","), OCI "index.v1+json", -EBADMSG, "inside it says"},
		{IMAGE("\"mediaType\":\"" OCI "manifest.v1+json\","), DOCKER "distribution.manifest.v2+json", -EBADMSG,
		 "inside it says"},
		{IMAGE("\"mediaType\":7,"), NULL, -EBADMSG, "not a media type"},
		{IMAGE("\"mediaType\":\"a\\nb\","), NULL, -EBADMSG, "not a media type"},
		{IMAGE("\"mediaType\":\"a\\u0000b\","), NULL, -EBADMSG, "not a media type"},
		{IMAGE(""), "text/html", -EOPNOTSUPP, "text/html"},
		{"{\"mediaType\":\"application/vnd.oci.artifact.manifest.v1+json\",\"artifactType\":\"sig/x\",\"blobs\":[]}",
		 NULL, -EOPNOTSUPP, "artifact of type sig/x"},
		{M2 "\"artifactType\":\"vnd.x\",\"config\":" D("application/vnd.oci.empty.v1+json", 2) ",\"layers\":[" D(
			 "application/vnd.oci.empty.v1+json", 2) "]}",
		 NULL, -EOPNOTSUPP, "artifact of type vnd.x"},
		{M2 "\"config\":" D("application/vnd.cncf.helm.config.v1+json", 2) ",\"layers\":[" D(
			 "application/vnd.cncf.helm.chart.content.v1.tar+gzip", 2) "]}",
		 NULL, -EOPNOTSUPP, "artifact of type application/vnd.cncf.helm.config"},
		{M2 "\"config\":" D("application/vnd.oci.empty.v1+json", 2) ",\"layers\":[" D("text/markdown", 2) "]}", NULL,
		 -EOPNOTSUPP, "artifact of type text/markdown"},
		{M2 "\"config\":" CONFIG ",\"layers\":[" D("application/vnd.in-toto+json", 2) "]}", NULL, -EOPNOTSUPP,
		 "artifact of type application/vnd.in-toto"},
		{M2 "\"config\":" CONFIG ",\"layers\":[" GZIP "," D(OCI "layer.v1.tar+lz4", 2) "]}", NULL, -EOPNOTSUPP,
		 "layer 2 has the type"},
		{M2 "\"config\":" CONFIG ",\"layers\":[" D(OCI "layer.v1.tar+gzip+encrypted", 2) "]}", NULL, -EOPNOTSUPP,
		 "layer 1 is encrypted"},
		{M2 "\"layers\":[]}", NULL, -EBADMSG, "no config"},
		{M2 "\"config\":[],\"layers\":[]}", NULL, -EBADMSG, "no config"},
		{M2 "\"config\":" CONFIG "}", NULL, -EBADMSG, "no layers"},
		{M2 "\"config\":" CONFIG ",\"layers\":{}}", NULL, -EBADMSG, "not an array"},
		{M2 "\"config\":" CONFIG ",\"layers\":[null]}", NULL, -EBADMSG, "layer 1"},
		{M2 "\"config\":" CONFIG ",\"layers\":[" GZIP ",{\"mediaType\":\"x\",\"digest\":\"sha256:00\",\"size\":1}]}",
		 NULL, -EBADMSG, "layer 2 of its manifest has no valid digest"},
		{M2 "\"config\":" CONFIG ",\"layers\":[{\"mediaType\":\"x\",\"digest\":\"blake3:00\",\"size\":1}]}", NULL,
		 -EOPNOTSUPP, "algorithm"},
		{M2 "\"config\":" CONFIG ",\"layers\":[" D(OCI "layer.v1.tar", -1) "]}", NULL, -EBADMSG, "no valid size"},
		{M2 "\"config\":" CONFIG ",\"layers\":[" D(OCI "layer.v1.tar", 1.5) "]}", NULL, -EBADMSG, "no valid size"},
		{M2 "\"config\":" CONFIG ",\"layers\":[" D(OCI "layer.v1.tar", 68719476737) "]}", NULL, -EFBIG, "layer 1 has"},
		{M2 "\"config\":" CONFIG ",\"layers\":[" D(OCI "layer.v1.tar", 99999999999999999999) "]}", NULL, -EFBIG,
		 "layer 1 has"},
		{M2 "\"config\":" D(OCI "config.v1+json", 8388609) ",\"layers\":[]}", NULL, -EFBIG, "the config has"},
		{M2 "\"manifests\":{}}", NULL, -EBADMSG, "no array of manifests"},
		{INDEX("7"), NULL, -EBADMSG, "entry 1"},
		{INDEX(ENTRY(",\"platform\":[]")), NULL, -EBADMSG, "platform of entry 1"},
		{INDEX(ENTRY(PLATFORM("l\\u0000", "x", ""))), NULL, -EBADMSG, "platform that cannot be read"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char said[REPORT_TEXT_SIZE];
		struct manifest *m = NULL;
		int r = parse(cases[i].text, cases[i].content_type, &m, said);

		if (r != cases[i].result || !strstr(said, cases[i].said) || !strstr(said, "app:1"))
			fail_msg("case %zu gave %d: %s", i, r, said);
		assert_null(m);
	}
}

static int parse_many(const char *head, const char *element, size_t n, const char *tail)
{
	struct bytes b = {0};
	char said[REPORT_TEXT_SIZE];
	struct manifest *m = NULL;
	int r;

	assert_int_equal(bytes_printf(&b, "%s", head), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(bytes_printf(&b, "%s%s", i ? "," : "", element), 0);
	assert_int_equal(bytes_printf(&b, "%s", tail), 0);
	assert_int_equal(bytes_terminate(&b), 0);
	r = parse((const char *)b.data, NULL, &m, said);
	manifest_free(&m);
	bytes_free(&b);
	return r;
}

static void holds_the_limits(void **state)
{
	struct manifest *m = NULL;
	char said[REPORT_TEXT_SIZE], *text = malloc(LIMIT_MANIFEST_SIZE + 2);

	(void)state;
	assert_int_equal(parse_many(M2 "\"config\":" CONFIG ",\"layers\":[", GZIP, LIMIT_LAYERS, "]}"), 0);
	assert_int_equal(parse_many(M2 "\"config\":" CONFIG ",\"layers\":[", GZIP, LIMIT_LAYERS + 1, "]}"), -EFBIG);
	assert_int_equal(parse_many(M2 "\"manifests\":[", ENTRY(""), LIMIT_INDEX_ENTRIES, "]}"), 0);
	assert_int_equal(parse_many(M2 "\"manifests\":[", ENTRY(""), LIMIT_INDEX_ENTRIES + 1, "]}"), -EFBIG);
	assert_int_equal(parse_many(M2 "\"x\":", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 1, ""), -EBADMSG);

	memset(text, ' ', LIMIT_MANIFEST_SIZE + 1);
	memcpy(text, IMAGE(""), strlen(IMAGE("")));
	text[LIMIT_MANIFEST_SIZE] = '\0';
	assert_int_equal(parse(text, NULL, &m, said), 0);
	manifest_free(&m);
	text[LIMIT_MANIFEST_SIZE] = ' ';
	text[LIMIT_MANIFEST_SIZE + 1] = '\0';
	assert_int_equal(parse(text, NULL, &m, said), -EFBIG);
	free(text);
}

static void chooses_what_fits_best(void **state)
{
	static const char *const arm = INDEX(ENTRY(PLATFORM("unknown", "unknown", "")) "," ENTRY(
		PLATFORM("linux", "arm", ",\"variant\":\"v5\"")) "," ENTRY(PLATFORM("linux", "arm", ",\"variant\":\"v6\"")) "," ENTRY(
		PLATFORM("linux", "amd64", ",\"variant\":null")) "," ENTRY(PLATFORM("linux", "arm64", ",\"variant\":\"v8\"")) "," ENTRY(
		PLATFORM("linux", "amd64", "")) "," ENTRY(PLATFORM("linux", "amd64", ",\"variant\":\"v2\"")));
	static const char *const layout = INDEX(D("text/plain", 1) "," ENTRY("") "," ENTRY(""));
	static const struct {
		const char *const *index;
		const char *wanted;
		int entry; /* negative: the error */
		const char *said;
	} cases[] = {
		{&arm, "linux/arm/v7", 2, ""},
		{&arm, "linux/arm/v5", 1, ""},
		{&arm, "linux/amd64", 3, ""},
		{&arm, "linux/amd64/v4", 6, ""},
		{&arm, "linux/arm64", 4, ""},
		{&arm, "linux/riscv64", -ENOENT,
		 "app:1 has no image for linux/riscv64; there is: linux/arm/v5, linux/arm/v6, linux/amd64, linux/arm64/v8"},
		{&arm, "unknown/unknown", -ENOENT, "has no image for unknown/unknown"},
		{&layout, "linux/amd64", 1, ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct manifest_entry *e = NULL;
		char said[REPORT_TEXT_SIZE];
		struct manifest *m = NULL;
		struct platform p;
		int r;

		assert_int_equal(platform_parse(cases[i].wanted, &p), 0);
		assert_int_equal(parse(*cases[i].index, NULL, &m, said), 0);
		assert_true(m->is_index);
		report_capture(said);
		r = manifest_choose(m, &p, "app:1", &e);
		report_capture(NULL);
		if (r == 0)
			r = (int)(e - m->entries);
		if (r != cases[i].entry || !strstr(said, cases[i].said))
			fail_msg("case %zu gave %d: %s", i, r, said);
		manifest_free(&m);
	}
}

static void reads_entries_in_order(void **state)
{
	static const char text[] = INDEX(
		ENTRY("") "," ENTRY(
			",\"artifactType\":\"x/y\"") ",{\"mediaType\":\"" OCI
		"manifest.v1+json\",\"digest\":\"blake3:00\",\"size\":1}," D(OCI "index.v1+json", 1));
	struct manifest *m = NULL;
	char said[REPORT_TEXT_SIZE];

	(void)state;
	assert_int_equal(parse(text, NULL, &m, said), 0);
	assert_int_equal(m->n_entries, 4);
	assert_int_equal(m->entries[0].descriptor.type, MEDIA_MANIFEST);
	assert_int_equal(m->entries[1].descriptor.type, MEDIA_OTHER);
	assert_int_equal(m->entries[2].descriptor.type, MEDIA_OTHER);
	assert_int_equal(m->entries[3].descriptor.type, MEDIA_INDEX);
	manifest_free(&m);
}

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define NAMES_SOCI(digest) "\"annotations\":{\"com.amazon.soci.index-digest\":\"" digest "\"},"
#define SOCI(version, of) \
	"{\"mediaType\":\"" OCI "manifest.v1+json\",\"digest\":\"sha256:" A64 "\",\"size\":5,\"artifactType\":\"" \
	"application/vnd.amazon.soci.index." version "+json\",\"annotations\":{\"com.amazon.soci.image-manifest-digest\":\"" \
	of "\"}" PLATFORM("linux", "amd64", "") "}"

/* Nothing but speed hangs on it: what cannot be read is as good as absent. */
static void says_which_soci_index_is_its_own(void **state)
{
	static const struct {
		const char *text;
		bool has;
	} cases[] = {
		{IMAGE(NAMES_SOCI("sha256:" A64)), true},
		{IMAGE(NAMES_SOCI("sha256:a")), false},
		{IMAGE("\"annotations\":7,"), false},
		{IMAGE(""), false},
		{INDEX(ENTRY(PLATFORM("linux", "amd64", "")) "," SOCI("v2", "sha256:" HEX64)), true},
		{INDEX(SOCI("v2", "sha256:" HEX64) "," ENTRY(PLATFORM("linux", "amd64", ""))), true},
		{INDEX(ENTRY(PLATFORM("linux", "amd64", "")) "," SOCI("v2", "sha256:" A64)), false},
		{INDEX(ENTRY(PLATFORM("linux", "amd64", "")) "," SOCI("v1", "sha256:" HEX64)), false},
	};
	const struct platform wanted = {.os = "linux", .architecture = "amd64"};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct manifest_entry *e = NULL;
		struct manifest *m = NULL;
		char said[REPORT_TEXT_SIZE];
		struct digest soci;

		assert_int_equal(parse(cases[i].text, NULL, &m, said), 0);
		if (m->is_index)
			assert_int_equal(manifest_choose(m, &wanted, "app:1", &e), 0);
		soci = e ? e->soci : m->soci;
		assert_int_equal(soci.algorithm, cases[i].has ? DIGEST_SHA256 : DIGEST_NONE);
		if (e)
			assert_int_equal(e->descriptor.digest.bytes[0], 0xe3); /* never the SOCI index itself */
		manifest_free(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_images),
		cmocka_unit_test(refuses_and_says_why),
		cmocka_unit_test(holds_the_limits),
		cmocka_unit_test(chooses_what_fits_best),
		cmocka_unit_test(reads_entries_in_order),
		cmocka_unit_test(says_which_soci_index_is_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
