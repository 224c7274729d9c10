/* `lazyrun pull IMAGE...`: fetches images; asks the registry even when a tag is known. */
#include <inttypes.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/report.h"
#include "cli/command_table.h"
#include "cli/ensure.h"
#include "cli/human.h"

static int pull_one(const struct store *s, struct ensure_options *options)
{
	_cleanup_(ensure_result_free) struct ensure_result *result = NULL;
	char name[LIMIT_PATH_SIZE + 512], digest[DIGEST_TEXT_MAX], size[HUMAN_SIZE];
	int r = ensure_image(s, options, ENSURE_IMAGE, &result);

	if (r < 0)
		return r;
	if (options->quiet) {
		printf("%s\n", digest_text(&result->manifest_digest, digest));
		return 0;
	}
	printf("%s: %s, %zu layer%s, ", reference_text(&result->reference, name),
	       digest_text(&result->manifest_digest, digest), result->n_layers, result->n_layers == 1 ? "" : "s");
	if (result->fetched_bytes == 0)
		printf("all here already\n");
	else
		printf("%s fetched\n", human_bytes(result->fetched_bytes, size));
	return 0;
}

int cmd_pull(int argc, char **argv)
{
	_cleanup_(store_free) struct store *s = NULL;
	struct ensure_options options = {.pull = "always", .lines = true};
	struct option_spec specs[ENSURE_N_OPTIONS + 1] = {0};
	const struct option_rules rules = {.command = "pull", .specs = specs, .min_operands = 1, .max_operands = -1};
	struct options_result o;
	int r, failed = 0;

	ensure_option_specs(&options, specs);
	r = command_options(&rules, argc, argv, &o);
	if (r != 0)
		return r < 0 ? r : 0;
	r = store_open(NULL, NULL, true, &s);
	/* One that fails does not keep the others from coming. */
	for (int i = 0; r == 0 && i < o.n_operands; i++) {
		int one;

		options.image = o.operands[i];
		one = pull_one(s, &options);
		if (one < 0 && failed == 0)
			failed = one;
	}
	return r < 0 ? r : failed;
}
