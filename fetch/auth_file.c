/* Keys are written in many ways; all are made one before they are compared. */
#include "fetch/auth_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_object.h>
#include <json-c/linkhash.h>

#include "base/base64.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"

#define KEY_SIZE (2 * LIMIT_REPOSITORY_SIZE + 4)

void auth_file_wipe(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

void auth_file_free(struct auth_found *f)
{
	auth_file_wipe(&f->username);
	auth_file_wipe(&f->password);
	auth_file_wipe(&f->identity_token);
	auth_file_wipe(&f->key);
	auth_file_wipe(&f->helper);
	auth_file_wipe(&f->store);
}

/* "https://index.docker.io/v1/" is "docker.io": with a scheme only the host counts. False: too
 * long. */
static bool normalize_key(const char *key, char out[static KEY_SIZE])
{
	static const char *const docker[] = {"index.docker.io", "index.docker.io/v1",
					     "registry-1.docker.io"};
	const char *start = key;
	size_t size;

	if (strncmp(start, "https://", 8) == 0 || strncmp(start, "http://", 7) == 0)
		start = strstr(start, "://") + 3;
	size = start == key ? strlen(start) : strcspn(start, "/");
	while (size > 0 && start[size - 1] == '/')
		size--;
	if (size >= KEY_SIZE)
		return false;
	memcpy(out, start, size);
	out[size] = '\0';
	for (size_t i = 0; i < sizeof(docker) / sizeof(docker[0]); i++)
		if (strcmp(out, docker[i]) == 0)
			strcpy(out, "docker.io");
	return true;
}

/* Takes the last component off: "quay.io/a/b" -> "quay.io/a" -> "quay.io" -> false. */
static bool shorten(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash)
		*slash = '\0';
	return slash != NULL;
}

/* The value of the object's key that is `wanted` when both are written alike; the exact one first.
 */
static struct json_object *find_key(struct json_object *o, const char *wanted)
{
	struct json_object *exact = json_object_object_get(o, wanted);

	if (exact)
		return exact;
	json_object_object_foreach(o, k, v)
	{
		char key[KEY_SIZE];

		if (v && normalize_key(k, key) && strcmp(key, wanted) == 0)
			return v;
	}
	return NULL;
}

/* *ret is NUL-terminated and without NUL inside, but for some at its end, which old versions of docker wrote. */
static int decode_base64(const char *text, char **ret)
{
	size_t size = strlen(text), n = 0;
	char *out = calloc(BASE64_PLAIN_SIZE(size) + 1, 1);
	int r;

	if (!out)
		return -ENOMEM;
	r = base64_decode(text, size, (uint8_t *)out, &n);
	while (r == 0 && n > 0 && out[n - 1] == '\0')
		n--;
	if (r < 0 || strlen(out) != n) {
		free(out);
		return -EBADMSG;
	}
	*ret = out;
	return 0;
}

static int wrong_entry(const char *name, const char *key)
{
	return fail(
		EBADMSG,
		"%s: the entry for %s is not what a login writes; log in again (podman login, docker login)",
		name, key);
}

/* "auth" is base64 of "user:password". */
static int split_auth(const char *auth, const char *name, const char *key, struct auth_found *f)
{
	_cleanup_(auth_file_wipe) char *plain = NULL;
	int r = decode_base64(auth, &plain);
	char *colon;

	if (r == -ENOMEM)
		return r;
	colon = r < 0 ? NULL : strchr(plain, ':');
	if (!colon)
		return wrong_entry(name, key);
	*colon = '\0';
	f->username = strdup(plain);
	f->password = strdup(colon + 1);
	return f->username && f->password ? 0 : -ENOMEM;
}

/* 1: something was found. 0: the entry is empty, as docker leaves it when a helper has the rest. */
static int parse_entry(const struct json_object *o, const char *name, const char *key,
		       struct auth_found *f)
{
	const char *auth = "", *token = "", *username = "", *password = "";
	const struct {
		const char *key, **value;
	} fields[] = {{"auth", &auth},
		      {"identitytoken", &token},
		      {"username", &username},
		      {"password", &password}};
	int r = 0;

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		r = json_field_string(o, fields[i].key, fields[i].value);
		if (r < 0 && r != -ENOENT)
			return wrong_entry(name, key);
	}
	if (token[0]) {
		f->identity_token = strdup(token);
		r = f->identity_token ? 0 : -ENOMEM;
	} else if (auth[0]) {
		r = split_auth(auth, name, key, f);
	} else if (username[0]) {
		f->username = strdup(username);
		f->password = strdup(password);
		r = f->username && f->password ? 0 : -ENOMEM;
	} else {
		return 0;
	}
	if (r < 0)
		return r;
	f->key = strdup(key);
	return f->key ? 1 : -ENOMEM;
}

static int find_entry(struct json_object *auths, const char *name, const struct reference *ref,
		      struct auth_found *f)
{
	char path[KEY_SIZE];

	snprintf(path, sizeof(path), "%s/%s", ref->host, ref->repository);
	do {
		struct json_object *entry = find_key(auths, path);
		int r = entry ? parse_entry(entry, name, path, f) : 0;

		if (r != 0)
			return r < 0 ? r : 0;
	} while (shorten(path));
	return 0;
}

/* A helper's name becomes part of a program's name. */
static int take_helper(const char *text, const char *name, char **ret)
{
	if (!text[0] || strlen(text) > LIMIT_NAME_SIZE || strchr(text, '/'))
		return fail(
			EBADMSG,
			"%s: a credential helper is named by what follows \"docker-credential-\" in the name "
			"of its program",
			name);
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static int find_helper(struct json_object *helpers, const char *name, const struct reference *ref,
		       struct auth_found *f)
{
	char path[KEY_SIZE];

	snprintf(path, sizeof(path), "%s/%s", ref->host, ref->repository);
	do {
		struct json_object *helper = find_key(helpers, path);

		if (!helper)
			continue;
		if (!json_object_is_type(helper, json_type_string))
			return wrong_entry(name, path);
		return take_helper(json_object_get_string(helper), name, &f->helper);
	} while (shorten(path));
	return 0;
}

static int find_all(struct json_object *o, const char *name, const struct reference *ref,
		    struct auth_found *f)
{
	struct json_object *child;
	const char *store;
	int r = json_field_object(o, "credHelpers", &child);

	if (r == -EBADMSG)
		return fail(EBADMSG, "%s: credHelpers is not an object", name);
	if (r == 0) {
		r = find_helper(child, name, ref, f);
		if (r < 0)
			return r;
	}
	r = json_field_object(o, "auths", &child);
	if (r == -EBADMSG)
		return fail(EBADMSG, "%s: auths is not an object", name);
	if (r == 0) {
		r = find_entry(child, name, ref, f);
		if (r < 0)
			return r;
	}
	r = json_field_string(o, "credsStore", &store);
	if (r == -EBADMSG)
		return fail(EBADMSG, "%s: credsStore is not a name", name);
	return r == 0 && store[0] ? take_helper(store, name, &f->store) : 0;
}

int auth_file_find(const void *data, size_t size, const char *name, const struct reference *ref,
		   struct auth_found *ret)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	_cleanup_(auth_file_free) struct auth_found f = {0};
	int r = size > LIMIT_CREDENTIALS_SIZE ? -EFBIG : json_field_parse(data, size, &o);

	if (r == -ENOMEM)
		return r;
	if (r < 0 || !json_object_is_type(o, json_type_object))
		return fail(
			EBADMSG,
			"%s is not a JSON object as podman login and docker login write it; repair or remove it",
			name);
	r = find_all(o, name, ref, &f);
	if (r < 0)
		return r;
	*ret = f;
	f = (struct auth_found){0};
	return 0;
}
