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
	OPTION_FLAG,	 /* bool *: true when given */
	OPTION_FLAG_OFF, /* bool *: true when given as "=false" (--tls-verify=false) */
	OPTION_TEXT,	 /* const char **: the last one given counts */
	OPTION_LIST,	 /* struct option_list *: each one given, in order */
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
	char **operands; /* into argv, NULL behind the last one */
	int n_operands;
	bool help; /* --help was asked for: nothing else was checked behind it */
};

void option_list_free(struct option_list *l);

struct option_rules {
	const char *command;		 /* its name in messages: "run" */
	const struct option_spec *specs; /* NULL: no flags but --help */
	int min_operands;
	int max_operands;     /* -1: any number */
	bool stop_at_operand; /* the first word that is no flag ends the flags: what follows belongs to
				 the container; else flags and operands may mix */
};

/* argv[0] is the command's word and is skipped. Operands are moved to the front of argv + 1. */
int options_parse(const struct option_rules *rules, int argc, char **argv, struct options_result *ret);

/* One line a flag, for the command's help, on standard output. */
void options_print(const struct option_spec *specs);

/* How many letters differ (inserted, dropped, changed, swapped), for "did you mean". At most 255. */
unsigned int options_distance(const char *a, const char *b);
