/* `lazyrun rmi IMAGE...`: removes images; layers that others use stay. */
#include <inttypes.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "cli/command_table.h"
#include "cli/human.h"
#include "cli/session.h"
#include "cli/spare.h"

static int remove_one(struct session *s, const char *image)
{
	_cleanup_(json_field_free) struct json_object *answer = NULL;
	char size[HUMAN_SIZE];
	uint64_t layers = 0, freed = 0;
	int gone = 0, r = session_ask(s, "remove", image, &answer);

	if (r < 0)
		return r;
	(void)json_field_u64(answer, "removed_layers", &layers);
	(void)json_field_u64(answer, "freed_bytes", &freed);
	(void)json_field_bool(answer, "gone", &gone);
	if (gone) { /* a fetcher died over it, and with it what it had counted */
		printf("%s: not in the store any more\n", image);
		return 0;
	}
	printf("%s: removed, with %" PRIu64 " layer%s: %s freed\n", image, layers, layers == 1 ? "" : "s",
	       human_bytes(freed, size));
	return 0;
}

int cmd_rmi(int argc, char **argv)
{
	_cleanup_(session_close) struct session s = {0};
	const struct option_rules rules = {.command = "rmi", .min_operands = 1, .max_operands = -1};
	struct options_result o;
	int failed = 0, r = command_options(&rules, argc, argv, &o);

	if (r != 0)
		return r < 0 ? r : 0;
	r = session_open(&s);
	if (r == 0)
		spare_drop(s.store->store_path);
	for (int i = 0; r == 0 && i < o.n_operands; i++) {
		int one = remove_one(&s, o.operands[i]);

		if (one < 0 && failed == 0)
			failed = one;
	}
	return r < 0 ? r : failed;
}
