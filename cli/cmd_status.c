/* `lazyrun status`: the server of this store, without starting one. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/report.h"
#include "cli/command_table.h"
#include "cli/human.h"
#include "cli/output.h"
#include "cli/session.h"

static const char *const fields[] = {"supervisor_pid", "server_pid",	"fetcher_pid",	 "channel",  "uptime_seconds",
				     "images",	       "bytes_present", "bytes_fetched", "requests", "parked_reads"};

static int not_running(bool json)
{
	_cleanup_(json_field_free) struct json_object *o = json_object_new_object();

	if (!json) {
		printf("no server runs for this store; the next command that needs one starts it\n");
		return 0;
	}
	if (!o || json_object_object_add(o, "running", json_object_new_boolean(0)) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (json_object_object_add(o, fields[i], NULL) < 0)
			return -ENOMEM;
	return output_json(o);
}

static uint64_t number(struct json_object *o, const char *key)
{
	uint64_t n = 0;

	(void)json_field_u64(o, key, &n);
	return n;
}

static int print_images(struct json_object *answer)
{
	_cleanup_(bytes_free) struct bytes text = {0};
	struct json_object *images;
	size_t n;
	int r = 0;

	if (json_field_array(answer, "images", &images, &n) < 0)
		return 0;
	printf("images       %zu\n", n);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct json_object *image = json_object_array_get_idx(images, i);
		char present[HUMAN_SIZE], total[HUMAN_SIZE];
		const char *reference = "";

		(void)json_field_string(image, "reference", &reference);
		r = bytes_printf(&text, "  %s: %s of %s here\n", reference,
				 human_bytes(number(image, "present"), present),
				 human_bytes(number(image, "total"), total));
	}
	return r < 0 ? r : output_text(text.data, text.size);
}

static int print_status(const struct session *s, struct json_object *answer)
{
	char present[HUMAN_SIZE], fetched[HUMAN_SIZE], uptime[HUMAN_SIZE];
	const char *channel = "unknown", *waiting = "";

	(void)json_field_string(answer, "channel", &channel);
	(void)json_field_string(answer, "waiting", &waiting);
	printf("supervisor   pid %" PRIu64 ", up for %s\n", number(answer, "supervisor_pid"),
	       human_duration(number(answer, "uptime_seconds"), uptime));
	printf("server       pid %" PRIu64 ", channel %s, %" PRIu64 " parked reads\n", number(answer, "server_pid"),
	       channel, number(answer, "parked_reads"));
	printf("fetcher      pid %" PRIu64 ", %s fetched in %" PRIu64 " requests\n", number(answer, "fetcher_pid"),
	       human_bytes(number(answer, "bytes_fetched"), fetched), number(answer, "requests"));
	if (*waiting)
		printf("waiting      reads wait: %s\n", waiting);
	printf("store        %s, %s here\n", s->store->store_path, human_bytes(number(answer, "bytes_present"), present));
	printf("run dir      %s\n", s->store->run_path);
	return print_images(answer);
}

int cmd_status(int argc, char **argv)
{
	_cleanup_(session_close) struct session s = {0};
	_cleanup_(json_field_free) struct json_object *answer = NULL;
	bool json = false;
	const struct option_spec specs[] = {{"json", 0, OPTION_FLAG, &json, NULL, "JSON"}, {0}};
	const struct option_rules rules = {.command = "status", .specs = specs};
	struct options_result o;
	int r = command_options(&rules, argc, argv, &o);

	if (r != 0)
		return r < 0 ? r : 0;
	r = session_open_running(&s);
	if (r == -ENOENT && !report_any())
		return not_running(json);
	if (r == 0)
		r = session_ask(&s, "status", NULL, &answer);
	if (r < 0)
		return r;
	if (!json)
		return print_status(&s, answer);
	if (json_object_object_add(answer, "running", json_object_new_boolean(1)) < 0)
		return -ENOMEM;
	json_object_object_del(answer, "errno");
	return output_json(answer);
}
