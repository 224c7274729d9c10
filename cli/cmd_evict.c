/* `lazyrun evict IMAGE...`: drops bytes that come back by range when they are read. */
#include <stdio.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "cli/command_table.h"
#include "cli/human.h"
#include "cli/output.h"
#include "cli/session.h"

static int print_kept(struct json_object *answer)
{
	_cleanup_(bytes_free) struct bytes text = {0};
	struct json_object *kept;
	size_t n;
	int r = 0;

	if (json_field_array(answer, "kept", &kept, &n) < 0)
		return 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct json_object *k = json_object_array_get_idx(kept, i);
		const char *layer = "", *why = "";

		(void)json_field_string(k, "layer", &layer);
		(void)json_field_string(k, "why", &why);
		r = bytes_printf(&text, "  kept layer %s: %s\n", layer, why);
	}
	return r < 0 ? r : output_text(text.data, text.size);
}

static int evict_one(struct session *s, const char *image)
{
	_cleanup_(json_field_free) struct json_object *answer = NULL;
	char size[HUMAN_SIZE];
	uint64_t evicted = 0;
	int r = session_ask(s, "evict", image, &answer);

	if (r < 0)
		return r;
	(void)json_field_u64(answer, "evicted_bytes", &evicted);
	printf("%s: %s evicted\n", image, human_bytes(evicted, size));
	return print_kept(answer);
}

int cmd_evict(int argc, char **argv)
{
	_cleanup_(session_close) struct session s = {0};
	const struct option_rules rules = {.command = "evict", .min_operands = 1, .max_operands = -1};
	struct options_result o;
	int failed = 0, r = command_options(&rules, argc, argv, &o);

	if (r != 0)
		return r < 0 ? r : 0;
	r = session_open(&s);
	for (int i = 0; r == 0 && i < o.n_operands; i++) {
		int one = evict_one(&s, o.operands[i]);

		if (one < 0 && failed == 0)
			failed = one;
	}
	return r < 0 ? r : failed;
}
