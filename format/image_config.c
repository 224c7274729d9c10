/* Absent and null mean the same everywhere: docker writes either. */
#include "format/image_config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_object.h>
#include <json-c/linkhash.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"

static void free_list(char **list)
{
	for (char **s = list; s && *s; s++)
		free(*s);
	free(list);
}

void image_config_free(struct image_config **c)
{
	if (!*c)
		return;
	free_list((*c)->env);
	free_list((*c)->entrypoint);
	free_list((*c)->cmd);
	free_list((*c)->volumes);
	free_list((*c)->exposed_ports);
	free_list((*c)->labels);
	free((*c)->user);
	free((*c)->working_dir);
	free((*c)->stop_signal);
	free((*c)->created);
	free((*c)->diff_ids);
	free(*c);
	*c = NULL;
}

static int wrong_field(const char *name, const char *key)
{
	return fail(EBADMSG, "%s: the field %s of its image config is not what it should be", name,
		    key);
}

static int too_large(const char *name, const char *key)
{
	return fail(
		EFBIG,
		"%s: the field %s of its image config has more than %u entries, or one of more than %u bytes",
		name, key, LIMIT_CONFIG_ENTRIES, LIMIT_CONFIG_TEXT_SIZE);
}

/* A copy of the text. Absent is "". */
static int take_text(const struct json_object *o, const char *key, const char *name, char **ret)
{
	const char *text = "";
	int r = json_field_string(o, key, &text);

	if (r < 0 && r != -ENOENT)
		return wrong_field(name, key);
	if (strlen(text) > LIMIT_CONFIG_TEXT_SIZE)
		return too_large(name, key);
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static int take_platform_text(const struct json_object *o, const char *key, const char *name,
			      char *ret, size_t ret_size)
{
	const char *text = "";
	int r = json_field_string(o, key, &text);

	if ((r < 0 && r != -ENOENT) || strlen(text) >= ret_size)
		return wrong_field(name, key);
	strcpy(ret, text);
	return 0;
}

/* One element of an array of texts. */
static int take_element(struct json_object *o, const char *key, const char *name, char **ret)
{
	const char *text;

	if (!json_object_is_type(o, json_type_string))
		return wrong_field(name, key);
	text = json_object_get_string(o);
	if (strlen(text) != (size_t)json_object_get_string_len(o))
		return wrong_field(name, key); /* a NUL inside */
	if (strlen(text) > LIMIT_CONFIG_TEXT_SIZE)
		return too_large(name, key);
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

/* An array of texts, or one text alone, as docker once wrote commands. */
static int take_list(const struct json_object *o, const char *key, const char *name, char ***ret)
{
	struct json_object *value = json_object_object_get(o, key);
	bool is_array = json_object_is_type(value, json_type_array);
	size_t n = is_array ? json_object_array_length(value) : value ? 1 : 0;

	if (n > LIMIT_CONFIG_ENTRIES)
		return too_large(name, key);
	*ret = calloc(n + 1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		int r = take_element(is_array ? json_object_array_get_idx(value, i) : value, key,
				     name, *ret + i);

		if (r < 0)
			return r;
	}
	return 0;
}

/* The keys of an object; with their values, texts, behind each when `with_values`. */
static int take_map(const struct json_object *o, const char *key, const char *name,
		    bool with_values, char ***ret)
{
	size_t step = with_values ? 2 : 1, n = 0;
	struct json_object *map = NULL;
	int r = json_field_object(o, key, &map);

	if (r < 0 && r != -ENOENT)
		return wrong_field(name, key);
	if (map && json_object_object_length(map) > (int)LIMIT_CONFIG_ENTRIES)
		return too_large(name, key);
	*ret = calloc(map ? (size_t)json_object_object_length(map) * step + 1 : 1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	if (!map)
		return 0;
	json_object_object_foreach(map, k, v)
	{
		if (strlen(k) > LIMIT_CONFIG_TEXT_SIZE)
			return too_large(name, key);
		(*ret)[n] = strdup(k);
		if (!(*ret)[n++])
			return -ENOMEM;
		if (!with_values)
			continue;
		if (v) {
			r = take_element(v, key, name, *ret + n++);
			if (r < 0)
				return r;
		} else {
			(*ret)[n] = strdup("");
			if (!(*ret)[n++])
				return -ENOMEM;
		}
	}
	return 0;
}

/* What the process is started with. */
static int parse_process(const struct json_object *o, const char *name, struct image_config *c)
{
	int r;

	r = take_list(o, "Env", name, &c->env);
	if (r < 0)
		return r;
	r = take_list(o, "Entrypoint", name, &c->entrypoint);
	if (r < 0)
		return r;
	r = take_list(o, "Cmd", name, &c->cmd);
	if (r < 0)
		return r;
	r = take_map(o, "Volumes", name, false, &c->volumes);
	if (r < 0)
		return r;
	r = take_map(o, "ExposedPorts", name, false, &c->exposed_ports);
	if (r < 0)
		return r;
	r = take_map(o, "Labels", name, true, &c->labels);
	if (r < 0)
		return r;
	r = take_text(o, "User", name, &c->user);
	if (r < 0)
		return r;
	r = take_text(o, "WorkingDir", name, &c->working_dir);
	if (r < 0)
		return r;
	return take_text(o, "StopSignal", name, &c->stop_signal);
}

static int parse_rootfs(const struct json_object *o, const char *name, struct image_config *c)
{
	struct json_object *rootfs, *ids = NULL;
	const char *type = "layers";
	size_t n = 0;
	int r;

	if (json_field_object(o, "rootfs", &rootfs) < 0)
		return fail(EBADMSG, "%s: its image config has no rootfs; is it an image's config?",
			    name);
	r = json_field_string(rootfs, "type", &type);
	if ((r < 0 && r != -ENOENT) || strcmp(type, "layers") != 0)
		return wrong_field(name, "rootfs.type");
	r = json_field_array(rootfs, "diff_ids", &ids, &n);
	if (r < 0 && r != -ENOENT)
		return wrong_field(name, "rootfs.diff_ids");
	if (n > LIMIT_LAYERS)
		return fail(EFBIG,
			    "%s: its image config has %zu diffIDs, at most %u layers are allowed",
			    name, n, LIMIT_LAYERS);
	c->diff_ids = calloc(n + 1, sizeof(*c->diff_ids));
	if (!c->diff_ids)
		return -ENOMEM;
	for (; c->n_diff_ids < n; c->n_diff_ids++) {
		struct json_object *id = json_object_array_get_idx(ids, c->n_diff_ids);

		if (!json_object_is_type(id, json_type_string) ||
		    digest_parse(json_object_get_string(id), (size_t)json_object_get_string_len(id),
				 &c->diff_ids[c->n_diff_ids]) < 0)
			return fail(
				EBADMSG,
				"%s: diffID %zu of its image config is not a sha256 or sha512 digest",
				name, c->n_diff_ids + 1);
	}
	return 0;
}

static int parse_platform(const struct json_object *o, const char *name, struct platform *p)
{
	int r = take_platform_text(o, "os", name, p->os, sizeof(p->os));

	if (r == 0)
		r = take_platform_text(o, "architecture", name, p->architecture,
				       sizeof(p->architecture));
	if (r == 0)
		r = take_platform_text(o, "variant", name, p->variant, sizeof(p->variant));
	if (r == 0)
		r = take_platform_text(o, "os.version", name, p->os_version, sizeof(p->os_version));
	return r;
}

int image_config_parse(const void *data, size_t size, const char *name, struct image_config **ret)
{
	_cleanup_(image_config_free) struct image_config *c = NULL;
	_cleanup_(json_field_free) struct json_object *o = NULL;
	_cleanup_(json_field_free) struct json_object *none = json_object_new_object();
	struct json_object *process = none;
	int r;

	if (size > LIMIT_CONFIG_SIZE)
		return fail(EFBIG, "%s: its image config has %zu bytes, at most %u are allowed",
			    name, size, LIMIT_CONFIG_SIZE);
	r = json_field_parse(data, size, &o);
	if (r == -ENOMEM || !none)
		return -ENOMEM;
	if (r == -EFBIG)
		return fail(EFBIG, "%s: its image config has more than %u values", name,
			    LIMIT_JSON_VALUES);
	if (r < 0 || !json_object_is_type(o, json_type_object))
		return fail(EBADMSG, "%s: its image config is not a JSON object", name);
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	r = parse_platform(o, name, &c->platform);
	if (r < 0)
		return r;
	r = take_text(o, "created", name, &c->created);
	if (r < 0)
		return r;
	r = json_field_object(o, "config", &process);
	if (r < 0 && r != -ENOENT)
		return wrong_field(name, "config");
	r = parse_process(process, name, c);
	if (r < 0)
		return r;
	r = parse_rootfs(o, name, c);
	if (r < 0)
		return r;
	*ret = TAKE(c);
	return 0;
}
