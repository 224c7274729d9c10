/* `lazyrun images`: the images in the store, as a table, JSON or by a template. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/report.h"
#include "cli/command_table.h"
#include "cli/human.h"
#include "cli/output.h"
#include "cli/session.h"

/* docker.io/library/debian:12 is what everybody calls debian:12. */
static const char *short_name(const char *reference)
{
	static const char *const prefixes[] = {"docker.io/library/", "docker.io/"};

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncmp(reference, prefixes[i], strlen(prefixes[i])) == 0)
			return reference + strlen(prefixes[i]);
	return reference;
}

static int print_row(struct json_object *image, size_t width)
{
	_cleanup_(bytes_free) struct bytes line = {0};
	char size_text[HUMAN_SIZE], here[HUMAN_SIZE], age[HUMAN_SIZE];
	uint64_t size = 0, present = 0, total = 0, checked = 0, layers = 0, now = (uint64_t)time(NULL);
	const char *reference = "", *digest = "";
	int r;

	(void)json_field_string(image, "reference", &reference);
	(void)json_field_string(image, "manifest_digest", &digest);
	(void)json_field_u64(image, "size", &size);
	(void)json_field_u64(image, "present", &present);
	(void)json_field_u64(image, "total", &total);
	(void)json_field_u64(image, "checked", &checked);
	(void)json_field_u64(image, "layers", &layers);
	snprintf(here, sizeof(here), "%.0f%%", total ? (double)present * 100 / (double)total : 100.0);
	r = bytes_printf(&line, "%-*s  %-12.12s  %6" PRIu64 "  %9s  %5s  %s ago\n", (int)width, short_name(reference),
			 strchr(digest, ':') ? strchr(digest, ':') + 1 : digest, layers, human_bytes(size, size_text),
			 here, human_age(now > checked ? now - checked : 0, age));
	return r < 0 ? r : output_text(line.data, line.size);
}

static int print_table(struct json_object *images, size_t n)
{
	size_t width = strlen("IMAGE");
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		const char *reference = "";

		(void)json_field_string(json_object_array_get_idx(images, i), "reference", &reference);
		if (strlen(short_name(reference)) > width)
			width = strlen(short_name(reference));
	}
	printf("%-*s  %-12s  %6s  %9s  %5s  %s\n", (int)width, "IMAGE", "DIGEST", "LAYERS", "SIZE", "HERE",
	       "CHECKED");
	for (size_t i = 0; r == 0 && i < n; i++)
		r = print_row(json_object_array_get_idx(images, i), width);
	return r;
}

int cmd_images(int argc, char **argv)
{
	_cleanup_(session_close) struct session s = {0};
	_cleanup_(json_field_free) struct json_object *answer = NULL;
	struct json_object *images;
	bool json = false, quiet = false;
	const char *format = NULL;
	const struct option_spec specs[] = {
		{"json", 0, OPTION_FLAG, &json, NULL, "a JSON array"},
		{"quiet", 'q', OPTION_FLAG, &quiet, NULL, "names alone"},
		{"format", 0, OPTION_TEXT, &format, "TEMPLATE", "a Go template for each image: {{.Reference}}"},
		{0},
	};
	const struct option_rules rules = {.command = "images", .specs = specs};
	struct options_result o;
	size_t n;
	int r = command_options(&rules, argc, argv, &o);

	if (r != 0)
		return r < 0 ? r : 0;
	r = session_open(&s);
	if (r == 0)
		r = session_ask(&s, "images", NULL, &answer);
	if (r < 0)
		return r;
	if (json_field_array(answer, "images", &images, &n) < 0)
		return fail(EPROTO, "the server's answer has no list of images; end it with `lazyrun stop-server`");
	if (json)
		return output_json(images);
	if (!format && !quiet)
		return print_table(images, n);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = output_format(format ? format : "{{.reference}}", json_object_array_get_idx(images, i));
	return r;
}
