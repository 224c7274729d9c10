/* command_table: every command word, those that are there and those that are planned.
 *
 * One rule: a word of this table is a command, everything else is an image.
 *
 * A command is a function `int cmd_<name>(int argc, char **argv)`: argv[0] is its word, global flags
 * are gone (they are in the environment). It returns the exit code, or a negative errno: then main()
 * prints the errno's text when nothing was reported, and exits COMMAND_EXIT_FAILED.
 *
 * Ownership  The table is constant.
 * Units      -
 * Errors     -
 * Threads    Any.
 * Source     -
 */
#pragma once

#include <stdbool.h>

#include "cli/options.h"

#define COMMAND_EXIT_FAILED 125 /* lazyrun itself failed, not what it ran (docker's number) */

enum command_home {
	COMMAND_PLANNED, /* answers "not yet" */
	COMMAND_RUNTIME, /* in lazyrun */
	COMMAND_IMAGE,	 /* in lazyrun-image */
	COMMAND_HIDDEN,	 /* in lazyrun-image; not in the help's list */
};

struct command {
	const char *name;
	enum command_home home;
	const char *usage;    /* operands and flags behind the name */
	const char *help;     /* one line */
	const char *examples; /* lines, or NULL */
};

struct command_function {
	const char *name;
	int (*function)(int argc, char **argv);
};

/* NULL: not a command, so an image. */
const struct command *command_find(const char *word);

/* All of them, in the order of the help; ends with a NULL name. */
const struct command *command_all(void);

/* What `lazyrun help` and `lazyrun help NAME` print, on standard output. `specs` may be NULL. */
void command_print_overview(void);
void command_print_help(const char *name, const struct option_spec *specs);

/* options_parse(), and answers --help: returns 1 when the help was printed and the command should return
 * 0; else 0 or a negative errno. */
int command_options(const struct option_rules *rules, int argc, char **argv, struct options_result *ret);

/* Calls argv[0]'s function, which must be in `functions`. */
int command_call(const struct command_function *functions, int argc, char **argv);

/* What main() ends with: what was printed is really written, an error has a text; the exit code. */
int command_exit(int r);

int cmd_run(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_pull(int argc, char **argv);
int cmd_images(int argc, char **argv);
int cmd_convert(int argc, char **argv);
int cmd_index(int argc, char **argv);
int cmd_rmi(int argc, char **argv);
int cmd_evict(int argc, char **argv);
int cmd_gc(int argc, char **argv);
int cmd_mount(int argc, char **argv);
int cmd_umount(int argc, char **argv);
int cmd_unshare(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_ls(int argc, char **argv);
int cmd_cat(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_stop_server(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_version(int argc, char **argv);
int cmd_help(int argc, char **argv);
