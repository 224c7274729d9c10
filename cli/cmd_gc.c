/* `lazyrun gc [--dry-run] [--json]`: removes from the store what nothing needs. */
#include <inttypes.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "cli/command_table.h"
#include "cli/human.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/spare.h"

static int print(struct json_object *answer, bool dry)
{
	_cleanup_(bytes_free) struct bytes text = {0};
	uint64_t freed = 0, n_removed = 0;
	struct json_object *removed;
	char size[HUMAN_SIZE];
	size_t n = 0;
	int r = 0;

	(void)json_field_u64(answer, "freed_bytes", &freed);
	(void)json_field_u64(answer, "n_removed", &n_removed);
	if (json_field_array(answer, "removed", &removed, &n) < 0)
		n = 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct json_object *o = json_object_array_get_idx(removed, i);
		const char *what = "";
		uint64_t bytes = 0;

		(void)json_field_string(o, "what", &what);
		(void)json_field_u64(o, "bytes", &bytes);
		r = bytes_printf(&text, "%s %s: %s\n", dry ? "would remove" : "removed", what, human_bytes(bytes, size));
	}
	if (r == 0 && n_removed > n)
		r = bytes_printf(&text, "and %" PRIu64 " more\n", n_removed - n);
	if (r == 0)
		r = bytes_printf(&text, "Total %s space: %s\n", dry ? "reclaimable" : "reclaimed", human_bytes(freed, size));
	return r < 0 ? r : output_text(text.data, text.size);
}

int cmd_gc(int argc, char **argv)
{
	_cleanup_(session_close) struct session s = {0};
	_cleanup_(json_field_free) struct json_object *answer = NULL;
	bool dry = false, json = false;
	const struct option_spec specs[] = {{"dry-run", 0, OPTION_FLAG, &dry, NULL, "only say what would be removed"},
					    {"json", 0, OPTION_FLAG, &json, NULL, "JSON"},
					    {0}};
	const struct option_rules rules = {.command = "gc", .specs = specs};
	struct options_result o;
	int r = command_options(&rules, argc, argv, &o);

	if (r != 0)
		return r < 0 ? r : 0;
	r = session_open(&s);
	if (r == 0 && !dry)
		spare_drop(s.store->store_path);
	if (r == 0)
		r = session_ask(&s, dry ? "gc-dry" : "gc", NULL, &answer);
	if (r < 0)
		return r;
	json_object_object_del(answer, "errno");
	return json ? output_json(answer) : print(answer, dry);
}
