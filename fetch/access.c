/* Certificates are read once, here, so that a missing file is said before any request. */
#include "fetch/access.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"
#include "fetch/url.h"

#define PEM_SIZE_MAX (8u << 20)

/* libcurl trusts this file by default, but not beside a CA blob. */
static const char *const system_ca_files[] = {
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/etc/ssl/cert.pem",
};

static void wipe(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

void access_free(struct access **a)
{
	struct access *x = *a;

	if (!x)
		return;
	bytes_free(&x->ca_pem);
	free(x->cert_file);
	free(x->key_file);
	wipe(&x->http_proxy); /* proxies' addresses may hold passwords */
	wipe(&x->https_proxy);
	wipe(&x->all_proxy);
	free(x->no_proxy);
	wipe(&x->username);
	wipe(&x->password);
	wipe(&x->identity_token);
	free(x);
	*a = NULL;
}

static int bad_field(const char *key)
{
	return fail(EINVAL, "the access object of a request has a wrong \"%s\"", key);
}

static int take_text(struct json_object *o, const char *key, char **ret)
{
	const char *text;
	int r = json_field_string(o, key, &text);

	if (r == -ENOENT || (r == 0 && !*text))
		return 0;
	if (r < 0)
		return bad_field(key);
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static int take_bool(struct json_object *o, const char *key, bool otherwise, bool *ret)
{
	int value, r = json_field_bool(o, key, &value);

	if (r < 0 && r != -ENOENT)
		return bad_field(key);
	*ret = r == 0 ? value : otherwise;
	return 0;
}

static int add_pem(struct bytes *to, int dir_fd, const char *name)
{
	_cleanup_(fd_close) int fd =
		openat(dir_fd, name, O_RDONLY | O_CLOEXEC); /* often a symlink */
	ssize_t n = 1;
	int r = 0;

	if (fd < 0)
		return -errno;
	while (r == 0 && n > 0) {
		r = bytes_reserve(to, 4096);
		if (r < 0)
			return r;
		n = read(fd, to->data + to->size, 4096);
		if (n < 0)
			return -errno;
		to->size += (size_t)n;
		if (to->size > PEM_SIZE_MAX)
			return -EFBIG;
	}
	return bytes_append(to, "\n", 1);
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n > m && strcmp(text + n - m, end) == 0;
}

/* The pair whose name sorts first, as others do it. */
static int take_pair(struct access *a, const char *dir, const char *cert)
{
	char *cert_file = NULL, *key_file = NULL;

	if (a->cert_file && strcmp(strrchr(a->cert_file, '/') + 1, cert) < 0)
		return 0;
	if (asprintf(&cert_file, "%s/%s", dir, cert) < 0)
		return -ENOMEM;
	if (asprintf(&key_file, "%s/%.*s.key", dir, (int)(strlen(cert) - 5), cert) < 0) {
		free(cert_file);
		return -ENOMEM;
	}
	free(a->cert_file);
	free(a->key_file);
	a->cert_file = cert_file;
	a->key_file = key_file;
	if (access(key_file, R_OK) < 0)
		return fail(errno, "%s: the key that belongs to %s: %s", key_file, cert,
			    strerror(errno));
	return 0;
}

static void close_dir(DIR **d)
{
	if (*d)
		closedir(*d);
}

static int load_certs_dir(struct access *a, const char *dir)
{
	_cleanup_(close_dir) DIR *d = opendir(dir);
	struct dirent *e;
	int r = 0;

	if (!d)
		return errno == ENOENT ? 0 : fail(errno, "%s: %s", dir, strerror(errno));
	while (r == 0 && (e = readdir(d))) {
		if (ends_with(e->d_name, ".crt")) {
			r = add_pem(&a->ca_pem, dirfd(d), e->d_name);
			if (r < 0)
				return fail(-r, "%s/%s: %s", dir, e->d_name, strerror(-r));
		} else if (ends_with(e->d_name, ".cert")) {
			r = take_pair(a, dir, e->d_name);
		}
	}
	return r;
}

static int load_certificates(struct access *a, struct json_object *o)
{
	_cleanup_(fd_free_memory) char *ca_file = NULL;
	_cleanup_(fd_free_memory) char *certs_dir = NULL;
	int r = take_text(o, "ca_file", &ca_file);

	if (r == 0)
		r = take_text(o, "certs_dir", &certs_dir);
	if (r < 0)
		return r;
	if (ca_file) {
		r = add_pem(&a->ca_pem, AT_FDCWD, ca_file);
		if (r < 0)
			return fail(-r, "%s: %s", ca_file, strerror(-r));
	}
	if (certs_dir) {
		r = load_certs_dir(a, certs_dir);
		if (r < 0)
			return r;
	}
	for (size_t i = 0;
	     a->ca_pem.size && i < sizeof(system_ca_files) / sizeof(system_ca_files[0]); i++)
		if (add_pem(&a->ca_pem, AT_FDCWD, system_ca_files[i]) == 0)
			break;
	return 0;
}

/* The entry with the longest path that the repository lies under. */
static struct json_object *find_auth(struct json_object *auths, const struct reference *ref)
{
	static const char *const docker_keys[] = {"index.docker.io/v1/",
						  "https://index.docker.io/v1/", "index.docker.io",
						  "registry-1.docker.io"};
	char key[2 * LIMIT_REPOSITORY_SIZE + 4];
	struct json_object *found;

	snprintf(key, sizeof(key), "%s/%s", ref->host, ref->repository);
	for (;;) {
		char *slash;

		if (json_object_object_get_ex(auths, key, &found) && found)
			return found;
		slash = strrchr(key, '/');
		if (!slash)
			break;
		*slash = '\0';
	}
	for (size_t i = 0; strcmp(ref->host, "docker.io") == 0 &&
			   i < sizeof(docker_keys) / sizeof(docker_keys[0]);
	     i++)
		if (json_object_object_get_ex(auths, docker_keys[i], &found) && found)
			return found;
	return NULL;
}

static int load_auth(struct access *a, const struct reference *ref, struct json_object *o)
{
	struct json_object *auths, *entry;
	int r = json_field_object(o, "auths", &auths);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return bad_field("auths");
	entry = find_auth(auths, ref);
	if (!entry)
		return 0;
	r = take_text(entry, "username", &a->username);
	if (r == 0)
		r = take_text(entry, "password", &a->password);
	if (r == 0)
		r = take_text(entry, "identity_token", &a->identity_token);
	return r;
}

static int load_proxies(struct access *a, struct json_object *o)
{
	struct json_object *proxy;
	int r = json_field_object(o, "proxy", &proxy);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return bad_field("proxy");
	r = take_text(proxy, "http_proxy", &a->http_proxy);
	if (r == 0)
		r = take_text(proxy, "https_proxy", &a->https_proxy);
	if (r == 0)
		r = take_text(proxy, "all_proxy", &a->all_proxy);
	if (r == 0)
		r = take_text(proxy, "no_proxy", &a->no_proxy);
	return r;
}

int access_load(const struct reference *ref, struct json_object *o, struct access **ret)
{
	_cleanup_(access_free) struct access *a = calloc(1, sizeof(*a));
	bool verify = true;
	int r = 0;

	if (!a)
		return -ENOMEM;
	if (o) {
		r = take_bool(o, "plain_http", false, &a->plain_http);
		if (r == 0)
			r = take_bool(o, "tls_verify", true, &verify);
		if (r == 0)
			r = load_certificates(a, o);
		if (r == 0)
			r = load_auth(a, ref, o);
		if (r == 0)
			r = load_proxies(a, o);
	}
	a->tls_no_verify = !verify;
	if (r == 0)
		*ret = TAKE(a);
	return r;
}

void access_options(const struct access *a, const char *url, bool own_origin,
		    struct transport_options *ret)
{
	struct url_origin origin;

	*ret = (struct transport_options){
		.tls_no_verify = a->tls_no_verify,
		.ca_pem = a->ca_pem.size ? a->ca_pem.data : NULL,
		.ca_pem_size = a->ca_pem.size,
		.cert_file = own_origin ? a->cert_file : NULL,
		.key_file = own_origin ? a->key_file : NULL,
	};
	if (url_origin_parse(url, &origin) < 0 || url_host_is_loopback(origin.host))
		return; /* a proxy's own loopback is another one */
	ret->proxy = origin.https ? a->https_proxy : a->http_proxy;
	if (!ret->proxy)
		ret->proxy = a->all_proxy;
	ret->no_proxy = a->no_proxy;
}
