/* One pass over argv; each flag is looked up in the command's table. */
#include "cli/options.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"

#define DISTANCE_MAX 64 /* longer words are simply not near */

void option_list_free(struct option_list *l)
{
	free(l->texts);
	*l = (struct option_list){0};
}

unsigned int options_distance(const char *a, const char *b)
{
	unsigned int rows[3][DISTANCE_MAX + 1];
	size_t n = strlen(a), m = strlen(b);

	if (n > DISTANCE_MAX || m > DISTANCE_MAX)
		return 255;
	for (size_t j = 0; j <= m; j++)
		rows[0][j] = (unsigned int)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];

		row[0] = (unsigned int)i;
		for (size_t j = 1; j <= m; j++) {
			unsigned int best = above[j - 1] + (a[i - 1] != b[j - 1]);

			if (above[j] + 1 < best)
				best = above[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    above2[j - 2] + 1 < best)
				best = above2[j - 2] + 1;
			row[j] = best;
		}
	}
	return rows[n % 3][m];
}

static int unknown_flag(const struct option_rules *rules, const char *shown, const char *name)
{
	const char *near = NULL;
	unsigned int nearest = 3; /* up to two letters wrong */

	for (const struct option_spec *s = rules->specs; name && s && s->name; s++) {
		unsigned int distance = options_distance(name, s->name);

		if (distance < nearest && distance < strlen(s->name)) {
			nearest = distance;
			near = s->name;
		}
	}
	if (near)
		return fail(EINVAL, "%s: unknown flag %s; did you mean --%s?", rules->command, shown, near);
	return fail(EINVAL, "%s: unknown flag %s; `lazyrun %s --help` lists what there is", rules->command,
		    shown, rules->command);
}

static int list_append(struct option_list *l, const char *text)
{
	const char **grown = reallocarray(l->texts, l->n_texts + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	grown[l->n_texts++] = text;
	l->texts = grown;
	return 0;
}

static bool takes_value(const struct option_spec *s)
{
	return s->kind == OPTION_TEXT || s->kind == OPTION_LIST;
}

/* `value` is NULL when there is none. */
static int set_option(const struct option_rules *rules, const struct option_spec *s, const char *value)
{
	bool on = true;

	if (takes_value(s)) {
		if (s->kind == OPTION_LIST)
			return list_append(s->target, value);
		*(const char **)s->target = value;
		return 0;
	}
	if (value && strcmp(value, "false") == 0)
		on = false;
	else if (value && strcmp(value, "true") != 0)
		return fail(EINVAL, "%s: --%s=%s: it is either =true or =false", rules->command, s->name, value);
	*(bool *)s->target = s->kind == OPTION_FLAG_OFF ? !on : on;
	return 0;
}

static int no_value(const struct option_rules *rules, const struct option_spec *s)
{
	return fail(EINVAL, "%s: --%s needs a value: --%s %s", rules->command, s->name, s->name,
		    s->value ? s->value : "VALUE");
}

/* Returns how many further words of argv it used up (0 or 1). */
static int parse_long(const struct option_rules *rules, char *word, char *next, struct options_result *result)
{
	const char *name = word + 2, *value = strchr(word, '=');
	size_t size = value ? (size_t)(value - name) : strlen(name);
	char shown[DISTANCE_MAX];
	int r;

	snprintf(shown, sizeof(shown), "%.*s", (int)(size > sizeof(shown) ? sizeof(shown) : size), name);
	if (strcmp(shown, "help") == 0) {
		result->help = true;
		return 0;
	}
	for (const struct option_spec *s = rules->specs; s && s->name; s++) {
		if (strlen(s->name) != size || strncmp(s->name, name, size) != 0)
			continue;
		if (value || !takes_value(s))
			return set_option(rules, s, value ? value + 1 : NULL);
		if (!next)
			return no_value(rules, s);
		r = set_option(rules, s, next);
		return r < 0 ? r : 1;
	}
	char flag[DISTANCE_MAX + 2];
	snprintf(flag, sizeof(flag), "--%s", shown);
	return unknown_flag(rules, flag, shown);
}

static const struct option_spec *find_short(const struct option_rules *rules, char c)
{
	for (const struct option_spec *s = rules->specs; s && s->name; s++)
		if (s->short_name == c)
			return s;
	return NULL;
}

/* "-it", "-eA=b", "-e A=b". Returns how many further words it used up. */
static int parse_short(const struct option_rules *rules, char *word, char *next, struct options_result *result)
{
	for (char *c = word + 1; *c; c++) {
		const struct option_spec *s = find_short(rules, *c);
		char shown[3] = {'-', *c, '\0'};
		int r;

		if (!s && *c == 'h') {
			result->help = true;
			return 0;
		}
		if (!s)
			return unknown_flag(rules, shown, c == word + 1 && c[1] ? c : NULL);
		if (takes_value(s)) {
			const char *value = c[1] == '=' ? c + 2 : c[1] ? c + 1 : next;

			if (!value)
				return no_value(rules, s);
			r = set_option(rules, s, value);
			return r < 0 ? r : value == next;
		}
		r = set_option(rules, s, NULL);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_operands(const struct option_rules *rules, const struct options_result *result)
{
	if (result->help)
		return 0;
	if (result->n_operands < rules->min_operands)
		return fail(EINVAL, "%s: %s; `lazyrun %s --help` shows how it is used", rules->command,
			    rules->min_operands == 1 ? "an argument is missing" : "arguments are missing",
			    rules->command);
	if (rules->max_operands >= 0 && result->n_operands > rules->max_operands)
		return fail(EINVAL, "%s: '%s' is one argument too many; `lazyrun %s --help` shows how it is used",
			    rules->command, result->operands[rules->max_operands], rules->command);
	return 0;
}

int options_parse(const struct option_rules *rules, int argc, char **argv, struct options_result *ret)
{
	struct options_result result = {.operands = argv + 1};
	bool flags = true;
	int r;

	for (int i = 1; i < argc; i++) {
		char *word = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;

		if (flags && strcmp(word, "--") == 0) {
			flags = false;
			continue;
		}
		if (!flags || word[0] != '-' || !word[1]) {
			if (rules->stop_at_operand)
				flags = false;
			result.operands[result.n_operands++] = word;
			continue;
		}
		r = word[1] == '-' ? parse_long(rules, word, next, &result)
				   : parse_short(rules, word, next, &result);
		if (r < 0)
			return r;
		if (result.help)
			break;
		i += r;
	}
	result.operands[result.n_operands] = NULL;
	r = check_operands(rules, &result);
	if (r < 0)
		return r;
	*ret = result;
	return 0;
}

void options_print(const struct option_spec *specs)
{
	for (const struct option_spec *s = specs; s && s->name; s++) {
		char left[64];
		char short_flag[8] = "    ";

		if (s->short_name)
			snprintf(short_flag, sizeof(short_flag), "-%c, ", s->short_name);
		snprintf(left, sizeof(left), "%s--%s%s%s", short_flag, s->name,
			 s->kind == OPTION_FLAG_OFF ? "=false" : takes_value(s) ? " " : "",
			 takes_value(s) ? s->value ? s->value : "VALUE" : "");
		printf("  %-32s %s\n", left, s->help);
	}
}
