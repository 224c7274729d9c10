/* options: a command's flags, from a table, with messages that say which one is wrong and what to do.
 *
 * Long flags as "--name value" and "--name=value", short ones bundled ("-it") and with their value
 * ("-eA=b", "-e A=b"). "--" ends the flags. A flag without value takes "=true" and "=false" too.
 * --help and -h are known to every command and need no entry.
 *
 * Ownership  Texts point into argv. A list's array is on the heap: free() it.
 * Units      -
 * Errors     -EINVAL, reported. -ENOMEM.
 * Threads    Any.
 * Source     the habits of docker's and podman's command lines.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum option_kind {
	OPTION_FLAG,	   /* bool *: true when given */
	OPTION_FLAG_OFF,   /* bool *: true when given as "=false" (--tls-verify=false) */
	OPTION_TEXT,	   /* const char **: the last one given counts */
	OPTION_LIST,	   /* struct option_list *: each one given, in order */
};

struct option_list {
	const char **texts;
	size_t n_texts;
};

struct option_spec {
	const char *name; /* without "--"; NULL ends a table */
	char short_name;  /* or 0 */
	enum option_kind kind;
	void *target;
	const char *value; /* the value's name in the help, NULL when there is none */
	const char *help;
};

struct options_result {
	char **operands; /* into argv */
	int n_operands;
	bool help; /* --help was asked for: nothing else was checked behind it */
};

void option_list_free(struct option_list *l);

/* `command` names the command in messages ("run"). With `stop_at_operand` the first word that is no flag
 * ends the flags (what follows belongs to the container); else flags and operands may mix. */
int options_parse(const char *command, const struct option_spec *specs, bool stop_at_operand, int argc,
		  char **argv, struct options_result *ret);

/* One line a flag, for the command's help, on standard output. */
void options_print(const struct option_spec *specs);

/* The name among `specs` that is nearest to `name`, or NULL when none is near. Also for command words. */
const char *options_nearest(const char *name, const char *const *names, size_t n_names);
