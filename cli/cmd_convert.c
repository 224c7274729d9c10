/* `lazyrun convert --to FORMAT SRC DST`: an image written anew, with layers that can be read in their middle. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/report.h"
#include "cli/client.h"
#include "cli/command_table.h"
#include "cli/ensure.h"
#include "cli/human.h"
#include "cli/session.h"
#include "cli/staged.h"

struct convert_options {
	struct ensure_options ensure;
	const char *to, *destination;
};

/* A layout that is not there yet is begun. */
static int make_layout(const struct reference *ref)
{
	static const char marker[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
	static const char index[] = "{\"schemaVersion\":2,\"manifests\":[]}";
	_cleanup_(fd_close) int fd = -1;
	int r;

	if (ref->kind != REFERENCE_LAYOUT || mkdir(ref->path, 0777) < 0)
		return ref->kind != REFERENCE_LAYOUT || errno == EEXIST ? 0 : fail(errno, "%s: %s", ref->path, strerror(errno));
	fd = open(ref->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(errno, "%s: %s", ref->path, strerror(errno));
	r = mkdirat(fd, "blobs", 0777) < 0 || mkdirat(fd, "blobs/sha256", 0777) < 0 ? -errno : 0;
	if (r == 0)
		r = fd_write_file(fd, "index.json", index, strlen(index), 0666);
	if (r == 0)
		r = fd_write_file(fd, "oci-layout", marker, strlen(marker), 0666);
	return r < 0 ? fail(-r, "%s: %s", ref->path, strerror(-r)) : 0;
}

static int make_request(const struct convert_options *o, struct json_object **ret)
{
	_cleanup_(json_field_free) struct json_object *q = json_object_new_object();
	char text[LIMIT_PATH_SIZE + 512];
	struct json_object *access = NULL;
	struct reference from, to;
	int r = reference_parse(o->ensure.image, &from);

	if (r == 0)
		r = reference_parse(o->destination, &to);
	if (r == 0 && (to.digest.algorithm != DIGEST_NONE || !to.tag[0]))
		r = fail(EINVAL, "convert: %s: what is written needs a name: give it a tag", o->destination);
	if (r == 0)
		r = make_layout(&to);
	if (r == 0)
		r = credentials_access(&to, &o->ensure.credentials, &access);
	if (r < 0)
		return r;
	json_object_object_add(q, "op", json_object_new_string("convert"));
	json_object_object_add(q, "to", json_object_new_string(o->to));
	json_object_object_add(q, "reference", json_object_new_string(reference_text(&from, text)));
	json_object_object_add(q, "destination", json_object_new_string(reference_text(&to, text)));
	if (o->ensure.platform)
		json_object_object_add(q, "platform", json_object_new_string(o->ensure.platform));
	json_object_object_add(q, "access", access);
	*ret = TAKE(q);
	return 0;
}

static void print(const struct convert_options *o, struct json_object *answer)
{
	uint64_t layers = 0, without = 0, size = 0;
	const char *manifest = "";
	char a[HUMAN_SIZE];

	(void)json_field_string(answer, "manifest", &manifest);
	(void)json_field_u64(answer, "layers", &layers);
	(void)json_field_u64(answer, "without_table", &without);
	(void)json_field_u64(answer, "size", &size);
	if (o->ensure.quiet) {
		printf("%s\n", manifest);
		return;
	}
	printf("%s: %s, %" PRIu64 " layers, %s\n", o->destination, manifest, layers, human_bytes(size, a));
	if (without)
		printf("  %" PRIu64 " of them without a table of contents: the format cannot hold sparse members, or names "
		       "that are not UTF-8\n", without);
}

static int run(const struct convert_options *o)
{
	_cleanup_(json_field_free) struct json_object *request = NULL, *answer = NULL;
	_cleanup_(ensure_result_free) struct ensure_result *image = NULL;
	_cleanup_(store_free) struct store *s = NULL;
	struct reference to;
	int r = store_open(NULL, NULL, true, &s);

	if (r == 0)
		r = ensure_image(s, &o->ensure, ENSURE_IMAGE, &image);
	if (r == 0)
		r = make_request(o, &request);
	if (r == 0)
		r = client_request(image->client, request, NULL, &answer);
	if (r == 0)
		r = reference_parse(o->destination, &to);
	if (r == 0)
		r = staged_move(s, answer, to.path);
	if (r < 0)
		return r;
	print(o, answer);
	return 0;
}

int cmd_convert(int argc, char **argv)
{
	struct convert_options o = {.ensure = {.lines = true, .whole = true, .trust = "pinned"}};
	struct option_spec specs[ENSURE_N_OPTIONS + 2] = {
		{"to", 0, OPTION_TEXT, &o.to, "FORMAT", "estargz or zstd:chunked"},
	};
	const struct option_rules rules = {.command = "convert", .specs = specs, .min_operands = 2, .max_operands = 2};
	struct options_result result;
	int r;

	ensure_option_specs(&o.ensure, specs + 1);
	r = command_options(&rules, argc, argv, &result);
	if (r != 0)
		return r < 0 ? r : 0;
	if (!o.to || (strcmp(o.to, "estargz") != 0 && strcmp(o.to, "zstd:chunked") != 0))
		return fail(EINVAL, "convert: --to %s: it is estargz or zstd:chunked", o.to ? o.to : "is missing");
	o.ensure.image = result.operands[0];
	o.destination = result.operands[1];
	o.ensure.trust = "pinned";
	return run(&o);
}
