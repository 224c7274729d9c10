/* json-c parses; the types are checked here, once. */
#include "base/json_field.h"

#include <errno.h>
#include <json-c/json_tokener.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "base/limits.h"

/* What json-c would allocate for is counted first: a document of "[{},{},..." takes 300 times its size.
 * And json-c takes texts in single quotes, even when told to be strict; no JSON has them, nor '/'. */
static int check_text(const char *text, size_t size)
{
	bool in_string = false;
	size_t n = 0;

	for (size_t i = 0; i < size; i++) {
		if (in_string && text[i] == '\\')
			i++;
		else if (text[i] == '"')
			in_string = !in_string;
		else if (!in_string && (text[i] == '\'' || text[i] == '/'))
			return -EBADMSG;
		else if (!in_string && (text[i] == '{' || text[i] == '[' || text[i] == ','))
			n++;
	}
	return n > LIMIT_JSON_VALUES ? -EFBIG : 0;
}

int json_field_parse(const void *data, size_t size, struct json_object **ret)
{
	struct json_tokener *t;
	struct json_object *o;
	const char *text = data;
	size_t end;
	int r;

	if (size > INT_MAX)
		return -EBADMSG;
	r = check_text(text, size);
	if (r < 0)
		return r;
	t = json_tokener_new_ex(LIMIT_JSON_DEPTH);
	if (!t)
		return -ENOMEM;
	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8 |
					  JSON_TOKENER_ALLOW_TRAILING_CHARS);
	o = json_tokener_parse_ex(t, text, (int)size);
	end = json_tokener_get_parse_end(t);
	if (!o && json_tokener_get_error(t) == json_tokener_continue)
		o = json_tokener_parse_ex(t, "", 1); /* a bare number ends only here */
	json_tokener_free(t);
	while (end < size && strchr(" \t\r\n", text[end]) && text[end])
		end++;
	if (!o || end < size) {
		json_object_put(o);
		return -EBADMSG;
	}
	*ret = o;
	return 0;
}

void json_field_free(struct json_object **o)
{
	json_object_put(*o);
	*o = NULL;
}

static int get(const struct json_object *o, const char *key, enum json_type type, struct json_object **ret)
{
	struct json_object *v = NULL;

	if (!json_object_is_type(o, json_type_object))
		return -EBADMSG;
	if (!json_object_object_get_ex(o, key, &v) || !v)
		return -ENOENT;
	if (!json_object_is_type(v, type))
		return -EBADMSG;
	*ret = v;
	return 0;
}

int json_field_string(const struct json_object *o, const char *key, const char **ret)
{
	struct json_object *v;
	int r = get(o, key, json_type_string, &v);

	if (r < 0)
		return r;
	if (strlen(json_object_get_string(v)) != (size_t)json_object_get_string_len(v))
		return -EBADMSG;
	*ret = json_object_get_string(v);
	return 0;
}

int json_field_u64(const struct json_object *o, const char *key, uint64_t *ret)
{
	struct json_object *v;
	int r = get(o, key, json_type_int, &v);

	if (r < 0)
		return r;
	if (json_object_get_int64(v) < 0)
		return -EBADMSG;
	*ret = json_object_get_uint64(v);
	return 0;
}

int json_field_bool(const struct json_object *o, const char *key, int *ret)
{
	struct json_object *v;
	int r = get(o, key, json_type_boolean, &v);

	if (r == 0)
		*ret = json_object_get_boolean(v);
	return r;
}

int json_field_object(const struct json_object *o, const char *key, struct json_object **ret)
{
	return get(o, key, json_type_object, ret);
}

int json_field_array(const struct json_object *o, const char *key, struct json_object **ret, size_t *ret_n)
{
	int r = get(o, key, json_type_array, ret);

	if (r == 0)
		*ret_n = json_object_array_length(*ret);
	return r;
}
