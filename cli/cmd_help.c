/* `lazyrun help [COMMAND]`: the overview, or what COMMAND --help prints. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/report.h"
#include "cli/command_table.h"
#include "cli/program.h"

static int unknown_command(const char *word)
{
	const char *near = NULL;
	unsigned int nearest = 3;

	for (const struct command *c = command_all(); c->name; c++) {
		unsigned int distance = options_distance(word, c->name);

		if (distance < nearest && distance < strlen(c->name)) {
			nearest = distance;
			near = c->name;
		}
	}
	if (near)
		return fail(EINVAL, "help: there is no command '%s'; did you mean %s?", word, near);
	return fail(EINVAL, "help: there is no command '%s', so `lazyrun %s` starts an image; `lazyrun help` lists "
			    "the commands", word, word);
}

/* The flags are in the command's own file, so the command itself answers. */
int cmd_help(int argc, char **argv)
{
	const struct option_rules rules = {.command = "help", .max_operands = 1};
	struct options_result o;
	const struct command *c;
	char path[PATH_MAX];
	int r = command_options(&rules, argc, argv, &o);

	if (r != 0)
		return r < 0 ? r : 0;
	if (o.n_operands == 0) {
		command_print_overview();
		return 0;
	}
	c = command_find(o.operands[0]);
	if (!c)
		return unknown_command(o.operands[0]);
	if (c->home == COMMAND_PLANNED) {
		printf("lazyrun %s: %s. Not yet there.\n", c->name, c->help);
		return 0;
	}
	r = program_find_lazyrun(path);
	if (r < 0)
		return r;
	execl(path, "lazyrun", c->name, "--help", (char *)NULL);
	return fail(errno, "%s cannot be executed: %s", path, strerror(errno));
}
