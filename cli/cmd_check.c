/* `lazyrun check [--dry-run] [--json]`: verifies a store and drops what is wrong in it. */
#include <inttypes.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "cli/command_table.h"
#include "cli/human.h"
#include "cli/output.h"
#include "cli/session.h"

#define EXIT_WRONG 1 /* something wrong is left */

static uint64_t number(struct json_object *o, const char *key)
{
	uint64_t n = 0;

	(void)json_field_u64(o, key, &n);
	return n;
}

static int print(struct json_object *answer)
{
	_cleanup_(bytes_free) struct bytes text = {0};
	uint64_t n_problems = number(answer, "n_problems");
	struct json_object *problems;
	char size[HUMAN_SIZE];
	size_t n = 0;
	int r;

	r = bytes_printf(&text, "checked %" PRIu64 " layers (%s), %" PRIu64 " blobs, %" PRIu64 " names\n",
			 number(answer, "layers"), human_bytes(number(answer, "bytes"), size), number(answer, "blobs"),
			 number(answer, "names"));
	if (json_field_array(answer, "problems", &problems, &n) < 0)
		n = 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct json_object *o = json_object_array_get_idx(problems, i);
		const char *what = "", *why = "", *repair = "";

		(void)json_field_string(o, "what", &what);
		(void)json_field_string(o, "why", &why);
		(void)json_field_string(o, "repair", &repair);
		r = bytes_printf(&text, "%s: %s: %s\n", what, why, *repair ? repair : "left as it is");
	}
	if (r == 0 && n_problems > n)
		r = bytes_printf(&text, "and %" PRIu64 " more\n", n_problems - n);
	if (r == 0 && n_problems == 0)
		r = bytes_printf(&text, "everything is as it should be\n");
	else if (r == 0)
		r = bytes_printf(&text, "%" PRIu64 " problem%s, %" PRIu64 " repaired\n", n_problems,
				 n_problems == 1 ? "" : "s", number(answer, "n_repaired"));
	return r < 0 ? r : output_text(text.data, text.size);
}

int cmd_check(int argc, char **argv)
{
	_cleanup_(session_close) struct session s = {0};
	_cleanup_(json_field_free) struct json_object *answer = NULL;
	bool dry = false, json = false;
	const struct option_spec specs[] = {{"dry-run", 0, OPTION_FLAG, &dry, NULL, "only say what is wrong"},
					    {"json", 0, OPTION_FLAG, &json, NULL, "JSON"},
					    {0}};
	const struct option_rules rules = {.command = "check", .specs = specs};
	struct options_result o;
	int r = command_options(&rules, argc, argv, &o);

	if (r != 0)
		return r < 0 ? r : 0;
	r = session_open(&s);
	if (r == 0)
		r = session_ask(&s, dry ? "check-dry" : "check", NULL, &answer);
	if (r < 0)
		return r;
	json_object_object_del(answer, "errno");
	r = json ? output_json(answer) : print(answer);
	if (r < 0)
		return r;
	return number(answer, "n_problems") > number(answer, "n_repaired") ? EXIT_WRONG : 0;
}
