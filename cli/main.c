/* lazyrun: global flags, then the command: run here, the image commands by executing lazyrun-image. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/report.h"
#include "cli/command_table.h"
#include "cli/program.h"

static const struct command_function functions[] = {
	{"help", cmd_help},
	{"run", cmd_run},
	{NULL, NULL},
};

/* Global flags go on by environment: to lazyrun-image, to the server that is started, to store_open(). */
static int take_value(const char *variable, const char *flag, const char *value)
{
	char *absolute = NULL;
	int r;

	if (!value || !*value)
		return fail(EINVAL, "%s needs a value behind it; see `lazyrun --help`", flag);
	if (value[0] == '/' || strcmp(flag, "--timeout") == 0)
		return setenv(variable, value, 1) < 0 ? -errno : 0;
	char *here = getcwd(NULL, 0);
	if (!here)
		return fail(errno, "%s %s: the working directory has no path (%s); give an absolute one", flag,
			    value, strerror(errno));
	r = asprintf(&absolute, "%s/%s", here, value) < 0 ? -ENOMEM : 0;
	free(here);
	if (r < 0)
		return r;
	r = setenv(variable, absolute, 1) < 0 ? -errno : 0;
	free(absolute);
	return r;
}

struct global_flag {
	const char *flag, *variable;
};

static const struct global_flag global_flags[] = {
	{"--store", "LAZYRUN_STORE"},
	{"--run-dir", "LAZYRUN_RUN_DIR"},
	{"--timeout", "LAZYRUN_TIMEOUT"},
};

/* Takes the global flag at argv[i]; returns how many words it is, 0 when it is none. */
static int take_global(int argc, char **argv, int i)
{
	for (size_t d = 0; d < sizeof(global_flags) / sizeof(global_flags[0]); d++) {
		const struct global_flag *g = &global_flags[d];
		size_t size = strlen(g->flag);
		int r;

		if (strncmp(argv[i], g->flag, size) != 0 || (argv[i][size] && argv[i][size] != '='))
			continue;
		if (argv[i][size] == '=') {
			r = take_value(g->variable, g->flag, argv[i] + size + 1);
			return r < 0 ? r : 1;
		}
		r = take_value(g->variable, g->flag, i + 1 < argc ? argv[i + 1] : NULL);
		return r < 0 ? r : 2;
	}
	return 0;
}

static int exec_image(char **argv)
{
	char path[PATH_MAX];
	int r = program_find_image(path);

	if (r < 0)
		return r;
	/* argv[-1] is a global flag, its value or our own name: lazyrun-image's argv[0] goes there. */
	argv[-1] = path;
	execv(path, argv - 1);
	return fail(errno, "%s cannot be executed: %s", path, strerror(errno));
}

static int not_yet(const char *name)
{
	return fail(EOPNOTSUPP, "%s: not yet. The word is kept for a command that is planned; an image of that "
				"name is started with `lazyrun run %s`", name, name);
}

/* argv[0] is the command's word or the image. */
static int dispatch(int argc, char **argv)
{
	const struct command *c = command_find(argv[0]);

	/* Flags of run may stand before the image: lazyrun -it debian. */
	if (!c) {
		argv[-1] = (char[]){"run"};
		return command_call(functions, argc + 1, argv - 1);
	}
	switch (c->home) {
	case COMMAND_PLANNED:
		return not_yet(c->name);
	case COMMAND_RUNTIME:
		return command_call(functions, argc, argv);
	case COMMAND_IMAGE:
	case COMMAND_HIDDEN:
		return exec_image(argv);
	}
	return -EINVAL;
}

int main(int argc, char **argv)
{
	int i = 1, r = 0;

	report_init("lazyrun");
	while (i < argc && (r = take_global(argc, argv, i)) > 0)
		i += r;
	if (r == 0 && i >= argc)
		r = fail(EINVAL, "which image? Try `lazyrun debian`; `lazyrun help` lists the commands");
	else if (r == 0 && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0))
		command_print_overview();
	else if (r == 0 && strcmp(argv[i], "--version") == 0)
		printf("lazyrun %s\n", LAZYRUN_VERSION);
	else if (r == 0)
		r = dispatch(argc - i, argv + i);
	return command_exit(r);
}
