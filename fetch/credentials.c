/* One walk over the places where logins lie, and one over the environment. */
#include "fetch/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"
#include "fetch/auth_file.h"
#include "fetch/credential_helper.h"

static const char *environment(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] ? value : NULL;
}

static int add_text(struct json_object *o, const char *key, const char *value)
{
	struct json_object *text;

	if (!value)
		return 0;
	text = json_object_new_string(value);
	if (!text || json_object_object_add(o, key, text) < 0) {
		json_object_put(text);
		return -ENOMEM;
	}
	return 0;
}

/* Adds an empty object, which belongs to `o` from then on. */
static int add_object(struct json_object *o, const char *key, struct json_object **ret)
{
	struct json_object *child = json_object_new_object();

	if (!child || json_object_object_add(o, key, child) < 0) {
		json_object_put(child);
		return -ENOMEM;
	}
	*ret = child;
	return 0;
}

static int add_bool(struct json_object *o, const char *key, bool value)
{
	struct json_object *b = json_object_new_boolean(value);

	if (!b || json_object_object_add(o, key, b) < 0) {
		json_object_put(b);
		return -ENOMEM;
	}
	return 0;
}

static int add_auth(struct json_object *access, const struct auth_found *f)
{
	struct json_object *auths, *entry;
	int r = add_object(access, "auths", &auths);

	if (r == 0)
		r = add_object(auths, f->key, &entry);
	if (r == 0 && f->identity_token)
		return add_text(entry, "identity_token", f->identity_token);
	if (r == 0)
		r = add_text(entry, "username", f->username);
	if (r == 0)
		r = add_text(entry, "password", f->password);
	return r;
}

static int add_creds(struct json_object *access, const struct reference *ref, const char *creds)
{
	_cleanup_(auth_file_free) struct auth_found f = {0};
	const char *colon = strchr(creds, ':');

	if (!colon || colon == creds)
		return fail(EINVAL, "--creds takes USER:PASSWORD");
	f.key = strdup(ref->host);
	f.username = strndup(creds, (size_t)(colon - creds));
	f.password = strdup(colon + 1);
	if (!f.key || !f.username || !f.password)
		return -ENOMEM;
	return add_auth(access, &f);
}

/* Links are followed: who keeps these files under version control links them here. */
static int read_file(const char *path, struct bytes *ret)
{
	_cleanup_(fd_free_memory) char *real = realpath(path, NULL);
	int r = real ? fd_read_file(AT_FDCWD, real, LIMIT_CREDENTIALS_SIZE, ret) : -errno;

	if (r == 0 || r == -ENOMEM)
		return r;
	if (r == -ENOENT || r == -ENOTDIR)
		return -ENOENT;
	if (r == -EFBIG)
		return fail(EFBIG, "%s has more than %u bytes; is it a file of logins?", path,
			    LIMIT_CREDENTIALS_SIZE);
	if (r == -EINVAL)
		return fail(EINVAL, "%s is not a regular file", path);
	return fail(-r, "the logins in %s cannot be read: %s", path, strerror(-r));
}

/* Asks a helper. 1: it had something. */
static int ask_helper(const char *helper, const struct reference *ref, struct auth_found *f)
{
	struct auth_found answer = {0};
	int r = credential_helper_get(helper, ref->host, &answer);

	if (r == 0) {
		answer.key = strdup(ref->host);
		r = answer.key ? 1 : -ENOMEM;
	}
	if (r < 0) {
		auth_file_free(&answer);
		return r == -ENOENT ? 0 : r;
	}
	*f = answer;
	return 1;
}

/* 1: this file has credentials, and they are in `access`. */
static int try_file(struct json_object *access, const struct reference *ref, const char *path)
{
	_cleanup_(auth_file_free) struct auth_found f = {0}, answer = {0};
	_cleanup_(bytes_free) struct bytes b = {0};
	int r = read_file(path, &b);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = auth_file_find(b.data, b.size, path, ref, &f);
	explicit_bzero(b.data, b.size);
	if (r < 0)
		return r;
	if (f.helper) {
		r = ask_helper(f.helper, ref, &answer);
		if (r == -ENOEXEC)
			return fail(
				ENOENT,
				"%s names the credential helper docker-credential-%s for %s, but there is no such "
				"program; install it, or take %s out of credHelpers and log in again",
				path, f.helper, ref->host, ref->host);
		if (r != 0)
			return r < 0 ? r : add_auth(access, &answer) < 0 ? -ENOMEM : 1;
	}
	if (f.key)
		return add_auth(access, &f) < 0 ? -ENOMEM : 1;
	if (f.store) {
		r = ask_helper(f.store, ref, &answer);
		if (r == -ENOEXEC) { /* it is for all hosts, and most images are public */
			report_note(
				"note: %s names the credential helper docker-credential-%s, but there is no such program; "
				"going on without a login",
				path, f.store);
			return 0;
		}
		if (r != 0)
			return r < 0 ? r : add_auth(access, &answer) < 0 ? -ENOMEM : 1;
	}
	return 0;
}

/* $variable/name, else $HOME/fallback/name. False: neither is set. */
static bool path_in(char out[static PATH_MAX], const char *variable, const char *fallback,
		    const char *name)
{
	const char *dir = environment(variable), *home = environment("HOME");
	int n;

	if (dir)
		n = snprintf(out, PATH_MAX, "%s/%s", dir, name);
	else if (home && fallback)
		n = snprintf(out, PATH_MAX, "%s/%s/%s", home, fallback, name);
	else
		return false;
	return n > 0 && n < PATH_MAX;
}

static int find_login(struct json_object *access_object, const struct reference *ref,
		      const char *authfile)
{
	char path[PATH_MAX];
	int r;

	if (authfile && access(authfile, F_OK) < 0)
		return fail(errno, "--authfile names %s: %m", authfile);
	if (!authfile)
		authfile = environment("REGISTRY_AUTH_FILE");
	if (authfile)
		return try_file(access_object, ref, authfile);
	if (!path_in(path, "XDG_RUNTIME_DIR", NULL, "containers/auth.json"))
		snprintf(path, sizeof(path), "/run/containers/%u/auth.json",
			 (unsigned int)geteuid());
	r = try_file(access_object, ref, path);
	if (r == 0 && path_in(path, "XDG_CONFIG_HOME", ".config", "containers/auth.json"))
		r = try_file(access_object, ref, path);
	if (r == 0 && path_in(path, "DOCKER_CONFIG", ".docker", "config.json"))
		r = try_file(access_object, ref, path);
	return r < 0 ? r : 0;
}

/* http_proxy counts in lower case alone: HTTP_PROXY is what a web server makes of a client's
 * header. */
static int add_proxies(struct json_object *access)
{
	static const struct {
		const char *key, *upper;
	} names[] = {{"http_proxy", NULL},
		     {"https_proxy", "HTTPS_PROXY"},
		     {"all_proxy", "ALL_PROXY"},
		     {"no_proxy", "NO_PROXY"}};
	struct json_object *proxy;
	int r = add_object(access, "proxy", &proxy);

	for (size_t i = 0; r == 0 && i < sizeof(names) / sizeof(names[0]); i++) {
		const char *value = environment(names[i].key);

		if (!value && names[i].upper)
			value = environment(names[i].upper);
		r = add_text(proxy, names[i].key, value);
	}
	return r;
}

static int add_certificates(struct json_object *access, const struct reference *ref)
{
	const char *ca_file = environment("SSL_CERT_FILE");
	_cleanup_(fd_free_memory) char *real = NULL;
	char own[PATH_MAX] = "", dirs[3][PATH_MAX];

	if (ca_file) {
		real = realpath(ca_file, NULL);
		if (!real)
			return fail(errno, "$SSL_CERT_FILE names %s: %m", ca_file);
		if (add_text(access, "ca_file", real) < 0)
			return -ENOMEM;
	}
	if (!path_in(own, "XDG_CONFIG_HOME", ".config", "containers/certs.d"))
		strcpy(own, "/nonexistent");
	snprintf(dirs[0], sizeof(dirs[0]), "%.3000s/%s", own, ref->host);
	snprintf(dirs[1], sizeof(dirs[1]), "/etc/containers/certs.d/%s", ref->host);
	snprintf(dirs[2], sizeof(dirs[2]), "/etc/docker/certs.d/%s", ref->host);
	for (size_t i = 0; i < 3; i++) {
		_cleanup_(fd_free_memory) char *dir = realpath(dirs[i], NULL);
		struct stat st;

		if (dir && stat(dir, &st) == 0 && S_ISDIR(st.st_mode))
			return add_text(access, "certs_dir", dir);
	}
	return 0;
}

int credentials_access(const struct reference *ref, const struct credentials_options *options,
		       struct json_object **ret)
{
	_cleanup_(json_field_free) struct json_object *access = json_object_new_object();
	int r;

	if (!access)
		return -ENOMEM;
	r = add_bool(access, "plain_http", options->plain_http);
	if (r == 0)
		r = add_bool(access, "tls_verify", !options->tls_no_verify);
	if (r == 0 && ref->kind == REFERENCE_REGISTRY)
		r = add_proxies(access);
	if (r == 0 && ref->kind == REFERENCE_REGISTRY)
		r = add_certificates(access, ref);
	if (r < 0)
		return r;
	if (ref->kind == REFERENCE_REGISTRY) {
		if (options->creds)
			r = add_creds(access, ref, options->creds);
		else
			r = find_login(access, ref, options->authfile);
		if (r < 0)
			return r;
	}
	*ret = TAKE(access);
	return 0;
}
