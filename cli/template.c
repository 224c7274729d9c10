/* One pass over the text; each {{...}} is split into words and evaluated on the JSON. */
#include "cli/template.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/linkhash.h>

#include "base/fd.h"
#include "base/report.h"

#define WORDS_MAX 4
#define WORD_SIZE 128
#define RANGES_MAX 8 /* nested */

struct words {
	char text[WORDS_MAX][WORD_SIZE];
	size_t n;
};

struct range {
	const char *body; /* behind {{range}} */
	struct json_object *list;
	size_t next; /* element to show next */
	struct json_object *outer;
};

struct state {
	struct json_object *dot;
	struct range ranges[RANGES_MAX];
	size_t n_ranges;
	struct bytes *out;
};

static bool same_field(const char *a, const char *b)
{
	for (;;) {
		while (*a == '_')
			a++;
		while (*b == '_')
			b++;
		if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
			return false;
		if (!*a)
			return true;
		a++;
		b++;
	}
}

static int unknown_field(struct json_object *o, const char *name)
{
	_cleanup_(bytes_free) struct bytes names = {0};

	json_object_object_foreach(o, key, value) {
		(void)value;
		if (bytes_printf(&names, "%s.%s", names.size ? ", " : "", key) < 0)
			return -ENOMEM;
	}
	if (bytes_terminate(&names) < 0)
		return -ENOMEM;
	return fail(EINVAL, "--format: there is no field '.%s'; there is %s", name,
		    names.size ? (const char *)names.data : "none here");
}

static int get_field(struct json_object *o, const char *name, struct json_object **ret)
{
	struct json_object *found;

	if (!json_object_is_type(o, json_type_object))
		return fail(EINVAL, "--format: '.%s' is asked of something that has no fields", name);
	if (json_object_object_get_ex(o, name, &found)) {
		*ret = found;
		return 0;
	}
	json_object_object_foreach(o, key, value) {
		if (same_field(key, name)) {
			*ret = value;
			return 0;
		}
	}
	return unknown_field(o, name);
}

/* ".", ".A", ".A.B" */
static int resolve(struct json_object *dot, const char *path, struct json_object **ret)
{
	struct json_object *o = dot;
	char name[WORD_SIZE];

	if (*path != '.')
		return fail(EINVAL, "--format: '%s' is no field; fields begin with a dot: {{.%s}}", path, path);
	path++;
	while (*path) {
		size_t n = strcspn(path, ".");
		int r;

		if (n == 0 || n >= sizeof(name))
			return fail(EINVAL, "--format: '.%s' is no field's name", path);
		memcpy(name, path, n);
		name[n] = '\0';
		r = get_field(o, name, &o);
		if (r < 0)
			return r;
		path += n + (path[n] == '.');
	}
	*ret = o;
	return 0;
}

/* As Go's %v. Depth is bounded by the parser of the JSON (LIMIT_JSON_DEPTH) or is our own. */
static int print_value(struct bytes *out, struct json_object *o)
{
	bool first = true;
	int r;

	switch (json_object_get_type(o)) {
	case json_type_object:
		r = bytes_printf(out, "map[");
		json_object_object_foreach(o, key, value) {
			if (r == 0)
				r = bytes_printf(out, "%s%s:", first ? "" : " ", key);
			if (r == 0)
				r = print_value(out, value);
			first = false;
		}
		return r < 0 ? r : bytes_printf(out, "]");
	case json_type_array:
		r = bytes_printf(out, "[");
		for (size_t i = 0; r == 0 && i < json_object_array_length(o); i++) {
			r = bytes_printf(out, "%s", i ? " " : "");
			if (r == 0)
				r = print_value(out, json_object_array_get_idx(o, i));
		}
		return r < 0 ? r : bytes_printf(out, "]");
	case json_type_null:
		return bytes_printf(out, "<nil>");
	case json_type_boolean:
	case json_type_double:
	case json_type_int:
	case json_type_string:
		break;
	}
	return bytes_printf(out, "%s", json_object_get_string(o));
}

/* Splits `text` at white space; "quoted words" keep theirs. */
static int split(const char *text, size_t size, struct words *ret)
{
	*ret = (struct words){0};
	for (size_t i = 0; i < size;) {
		size_t n = 0;
		bool quoted = text[i] == '"';

		if (isspace((unsigned char)text[i])) {
			i++;
			continue;
		}
		if (ret->n == WORDS_MAX)
			return fail(EINVAL, "--format: too many words in '{{%.*s}}'", (int)size, text);
		for (i += quoted; i < size && (quoted ? text[i] != '"' : !isspace((unsigned char)text[i])); i++) {
			if (n + 1 >= WORD_SIZE)
				return fail(EINVAL, "--format: a word in '{{%.60s...' is too long", text);
			if (quoted && text[i] == '\\' && i + 1 < size) {
				i++;
				ret->text[ret->n][n++] = text[i] == 'n' ? '\n' : text[i] == 't' ? '\t' : text[i];
				continue;
			}
			ret->text[ret->n][n++] = text[i];
		}
		i += quoted;
		ret->n++;
	}
	return 0;
}

static int call_join(struct state *s, struct json_object *o, const char *between)
{
	int r = 0;

	if (!json_object_is_type(o, json_type_array))
		return fail(EINVAL, "--format: join needs a list");
	for (size_t i = 0; r == 0 && i < json_object_array_length(o); i++) {
		r = bytes_printf(s->out, "%s", i ? between : "");
		if (r == 0)
			r = print_value(s->out, json_object_array_get_idx(o, i));
	}
	return r;
}

static int call_index(struct state *s, struct json_object *o, const char *at)
{
	struct json_object *found;
	char *end;
	unsigned long i;

	if (json_object_is_type(o, json_type_object)) {
		if (!json_object_object_get_ex(o, at, &found))
			return 0; /* Go: the zero value */
		return print_value(s->out, found);
	}
	i = strtoul(at, &end, 10);
	if (!json_object_is_type(o, json_type_array) || *end || end == at)
		return fail(EINVAL, "--format: index needs a list and a number, or an object and a \"key\"");
	if (i >= json_object_array_length(o))
		return fail(EINVAL, "--format: index %lu is behind the end of a list of %zu", i,
			    json_object_array_length(o));
	return print_value(s->out, json_object_array_get_idx(o, i));
}

static int call_len(struct state *s, struct json_object *o)
{
	if (json_object_is_type(o, json_type_array))
		return bytes_printf(s->out, "%zu", json_object_array_length(o));
	if (json_object_is_type(o, json_type_object))
		return bytes_printf(s->out, "%d", json_object_object_length(o));
	if (json_object_is_type(o, json_type_string))
		return bytes_printf(s->out, "%d", json_object_get_string_len(o));
	return bytes_printf(s->out, "0");
}

static int call_function(struct state *s, const struct words *w)
{
	const char *name = w->text[0];
	struct json_object *o;
	int r;

	if (w->n < 2)
		return fail(EINVAL, "--format: '{{%s}}' is not known; fields begin with a dot: {{.%s}}", name, name);
	r = resolve(s->dot, w->text[1], &o);
	if (r < 0)
		return r;
	if (strcmp(name, "json") == 0 && w->n == 2)
		return bytes_printf(s->out, "%s",
				    json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
									      JSON_C_TO_STRING_NOSLASHESCAPE));
	if (strcmp(name, "len") == 0 && w->n == 2)
		return call_len(s, o);
	if (strcmp(name, "join") == 0 && w->n == 3)
		return call_join(s, o, w->text[2]);
	if (strcmp(name, "index") == 0 && w->n == 3)
		return call_index(s, o, w->text[2]);
	if (strcmp(name, "println") == 0 && w->n == 2) {
		r = print_value(s->out, o);
		return r < 0 ? r : bytes_printf(s->out, "\n");
	}
	return fail(EINVAL, "--format: '%s' with %zu arguments is not known; there is json, len, index, join, "
			    "println and range ... end", name, w->n - 1);
}

/* Past the {{end}} that belongs to a range whose body starts at `text`; NULL: there is none. */
static const char *past_end(const char *text)
{
	size_t depth = 1;

	while ((text = strstr(text, "{{"))) {
		text += 2;
		text += strspn(text, "- \t\n");
		if (strncmp(text, "range", 5) == 0)
			depth++;
		if (strncmp(text, "end", 3) == 0 && --depth == 0) {
			text = strstr(text, "}}");
			return text ? text + 2 : NULL;
		}
	}
	return NULL;
}

/* Both return 0 and move *at to where the template goes on. */
static int begin_range(struct state *s, const struct words *w, const char **at)
{
	struct json_object *o;
	const char *after = past_end(*at);
	int r;

	if (w->n != 2 || !after)
		return fail(EINVAL, "--format: it is {{range .Field}} ... {{end}}");
	if (s->n_ranges == RANGES_MAX)
		return fail(EINVAL, "--format: more than %d ranges inside each other", RANGES_MAX);
	r = resolve(s->dot, w->text[1], &o);
	if (r < 0)
		return r;
	if (o && !json_object_is_type(o, json_type_array))
		return fail(EINVAL, "--format: range needs a list; %s is none", w->text[1]);
	if (!o || json_object_array_length(o) == 0) {
		*at = after;
		return 0;
	}
	s->ranges[s->n_ranges++] = (struct range){.body = *at, .list = o, .next = 1, .outer = s->dot};
	s->dot = json_object_array_get_idx(o, 0);
	return 0;
}

static int end_range(struct state *s, const char **at)
{
	struct range *top;

	if (s->n_ranges == 0)
		return fail(EINVAL, "--format: {{end}} without {{range .Field}}");
	top = &s->ranges[s->n_ranges - 1];
	if (top->next < json_object_array_length(top->list)) {
		s->dot = json_object_array_get_idx(top->list, top->next++);
		*at = top->body;
		return 0;
	}
	s->dot = top->outer;
	s->n_ranges--;
	return 0;
}

/* *at is behind "{{". */
static int action(struct state *s, const char **at)
{
	const char *begin = *at, *close = strstr(begin, "}}");
	struct json_object *o;
	struct words w;
	int r;

	if (!close)
		return fail(EINVAL, "--format: '{{' without '}}' behind it");
	*at = close + 2;
	r = split(begin, (size_t)(close - begin), &w);
	if (r < 0)
		return r;
	if (w.n == 0)
		return fail(EINVAL, "--format: '{{}}' is empty; name a field: {{.Digest}}");
	if (strcmp(w.text[0], "range") == 0)
		return begin_range(s, &w, at);
	if (strcmp(w.text[0], "end") == 0)
		return end_range(s, at);
	if (w.text[0][0] != '.')
		return call_function(s, &w);
	if (w.n > 1)
		return fail(EINVAL, "--format: '%s' behind '%s': pipelines are not known here", w.text[1], w.text[0]);
	r = resolve(s->dot, w.text[0], &o);
	return r < 0 ? r : print_value(s->out, o);
}

int template_render(const char *format, struct json_object *o, struct bytes *ret)
{
	struct state s = {.dot = o, .out = ret};
	const char *at = format;
	int r = 0;

	while (r == 0 && *at) {
		if (strncmp(at, "{{", 2) == 0) {
			at += 2;
			r = action(&s, &at);
		} else if (at[0] == '\\' && (at[1] == 'n' || at[1] == 't')) {
			r = bytes_append(ret, at[1] == 'n' ? "\n" : "\t", 1);
			at += 2;
		} else {
			r = bytes_append(ret, at, 1);
			at++;
		}
	}
	if (r == 0 && s.n_ranges > 0)
		return fail(EINVAL, "--format: {{range}} without {{end}}");
	return r;
}
