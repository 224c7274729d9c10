/* What the image says, then what the command line says over it. */
#include "cli/image_container.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/report.h"
#include "cli/volume.h"
#include "runtime/caps.h"
#include "runtime/namespaces.h"
#include "runtime/seccomp.h"

#define ENV_FILE_SIZE (1u << 20)

static int no_memory(void)
{
	return fail(ENOMEM, "out of memory");
}

void image_container_hostname(const struct run_options *o, const char *id, char ret[static 64])
{
	snprintf(ret, 64, "%.*s", o->hostname ? 63 : 12, o->hostname ? o->hostname : id);
}

/* --entrypoint replaces the image's and drops its CMD; a command replaces CMD alone. */
static int set_args(struct config *c, const struct run_options *o, const struct image_config *image)
{
	int r = 0;

	if (o->entrypoint)
		r = *o->entrypoint ? config_append(&c->args, o->entrypoint) : 0;
	else
		for (char **a = image ? image->entrypoint : NULL; a && *a && r == 0; a++)
			r = config_append(&c->args, *a);
	if (o->command[0] || o->entrypoint)
		for (char **a = o->command; *a && r == 0; a++)
			r = config_append(&c->args, *a);
	else
		for (char **a = image ? image->cmd : NULL; a && *a && r == 0; a++)
			r = config_append(&c->args, *a);
	if (r < 0)
		return no_memory();
	return c->args ? 0 : fail(EINVAL, "run: the image names no command, so one must stand behind it");
}

/* "NAME=VALUE", or "NAME", which takes our own value and is nothing when we have none. */
static int set_variable(struct config *c, const char *text)
{
	_cleanup_(fd_free_memory) char *joined = NULL;
	const char *value;

	if (!*text || *text == '=')
		return fail(EINVAL, "run: a variable without a name: \"%s\"", text);
	if (strchr(text, '='))
		return config_set_env(c, text) < 0 ? no_memory() : 0;
	value = getenv(text);
	if (!value)
		return 0;
	if (asprintf(&joined, "%s=%s", text, value) < 0) {
		joined = NULL;
		return no_memory();
	}
	return config_set_env(c, joined) < 0 ? no_memory() : 0;
}

/* One variable a line; '#' begins a comment line; nothing is unquoted, as docker does it. */
static int read_env_file(struct config *c, const char *path)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	char *rest;
	int r = fd_read_file(AT_FDCWD, path, ENV_FILE_SIZE, &b);

	if (r < 0)
		return fail(-r, "run: --env-file %s: %s", path, strerror(-r));
	if (memchr(b.data, '\0', b.size))
		return fail(EINVAL, "run: --env-file %s: it holds a NUL byte", path);
	rest = (char *)b.data;
	for (char *line; (line = strsep(&rest, "\n")) && r == 0;) {
		line += strspn(line, " \t");
		line[strcspn(line, "\r")] = '\0';
		if (*line && *line != '#')
			r = set_variable(c, line);
	}
	return r;
}

static int set_env(struct config *c, const struct run_options *o, const struct image_config *image,
		   const char *hostname)
{
	char text[80];
	int r = config_set_env(c, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");

	snprintf(text, sizeof(text), "HOSTNAME=%s", hostname);
	if (r == 0)
		r = config_set_env(c, text);
	if (r == 0 && c->terminal)
		r = config_set_env(c, "TERM=xterm");
	for (char **e = image ? image->env : NULL; e && *e && r == 0; e++)
		r = strchr(*e, '=') && **e != '=' ? config_set_env(c, *e) : 0;
	if (r < 0)
		return no_memory();
	for (size_t i = 0; i < o->env_files.n_texts && r == 0; i++)
		r = read_env_file(c, o->env_files.texts[i]);
	for (size_t i = 0; i < o->env.n_texts && r == 0; i++)
		r = set_variable(c, o->env.texts[i]);
	return r;
}

/* Looked up by init, in the root itself. */
static int set_user(struct config *c, const struct run_options *o, const struct image_config *image)
{
	int r = 0;

	c->user = strdup(o->user ? o->user : image ? image->user : "");
	for (size_t i = 0; i < o->group_add.n_texts && r == 0; i++)
		r = config_append(&c->more_groups, o->group_add.texts[i]);
	return c->user && r == 0 ? 0 : no_memory();
}

static int set_overlay(struct config *c, const struct image_container_place *place)
{
	int r = 0;

	if (!place->lowers)
		return 0;
	for (const char *const *l = place->lowers; *l && r == 0; l++)
		r = config_append(&c->overlay.lowers, *l);
	c->overlay.upper = strdup(place->dir->upper);
	c->overlay.work = strdup(place->dir->work);
	c->overlay.keep_upper = place->dir->keep_upper;
	return r == 0 && c->overlay.upper && c->overlay.work ? 0 : no_memory();
}

/* Drops come after adds unless everything is dropped first, as docker reads them. */
static int set_capabilities(struct config *c, const struct run_options *o)
{
	uint64_t set = CAPS_DEFAULT, one, add = 0, drop = 0;
	bool drop_all = false;
	int r = 0;

	for (size_t i = 0; i < o->cap_add.n_texts && r == 0; i++) {
		r = caps_parse(o->cap_add.texts[i], &one);
		add |= r == 0 ? one : 0;
	}
	for (size_t i = 0; i < o->cap_drop.n_texts && r == 0; i++) {
		if (strcasecmp(o->cap_drop.texts[i], "ALL") == 0) {
			drop_all = true;
			continue;
		}
		r = caps_parse(o->cap_drop.texts[i], &one);
		drop |= r == 0 ? one : 0;
	}
	if (r < 0)
		return r;
	set = ((drop_all ? 0 : set) | add) & ~drop;
	c->capabilities = (struct config_capabilities){.bounding = set, .effective = set, .permitted = set};
	return 0;
}

/* The only early binds there are. */
static void set_files(struct config *c, int *trees)
{
	for (size_t i = 0; i < c->n_mounts; i++)
		if (c->mounts[i].early && strcmp(c->mounts[i].type, "bind") == 0) {
			c->mounts[i].tree_fd = TAKE_FD(*trees);
			trees++;
		}
}

static int add_files(struct config *c, int *trees)
{

	for (size_t i = 0; i < CONTAINER_DIR_FILES; i++) {
		char destination[32];
		struct config_mount *m;

		snprintf(destination, sizeof(destination), "/etc/%s", container_dir_file_names[i]);
		if (config_add_mount(c, "bind", NULL, destination, NULL, 0, &m) < 0)
			return no_memory();
		m->early = true;
	}
	set_files(c, trees);
	return 0;
}

int image_container_renew(struct config *c, const struct container_dir *dir, int *file_trees)
{
	free(c->overlay.upper);
	free(c->overlay.work);
	c->overlay.upper = strdup(dir->upper);
	c->overlay.work = strdup(dir->work);
	set_files(c, file_trees);
	return c->overlay.upper && c->overlay.work ? 0 : no_memory();
}

static size_t depth(const struct config_mount *m)
{
	size_t n = 0;

	for (const char *at = m->destination; *at; at++)
		n += *at == '/' && at[1] && at[1] != '/';
	return n;
}

/* The user's own come last, outer ones before inner ones, whatever order they were said in. */
static int add_mounts(struct config *c, const struct run_options *o, int *file_trees)
{
	size_t first;
	int r = config_add_defaults(c, o->shm_size);

	if (r < 0)
		return no_memory();
	r = add_files(c, file_trees);
	first = c->n_mounts;
	for (size_t i = 0; i < o->tmpfs.n_texts && r == 0; i++)
		r = volume_add_tmpfs(c, o->tmpfs.texts[i]);
	for (size_t i = 0; i < o->volumes.n_texts && r == 0; i++)
		r = volume_add(c, o->volumes.texts[i]);
	for (size_t i = first + 1; r == 0 && i < c->n_mounts; i++)
		for (size_t k = i; k > first && depth(&c->mounts[k - 1]) > depth(&c->mounts[k]); k--) {
			struct config_mount swap = c->mounts[k];

			c->mounts[k] = c->mounts[k - 1];
			c->mounts[k - 1] = swap;
		}
	return r;
}

int image_container_build(struct config *c, const struct run_options *o, const struct image_config *image,
			  const struct image_container_place *place)
{
	char hostname[64], cgroup[80];
	const char *cwd = o->workdir ? o->workdir : image && *image->working_dir ? image->working_dir : "/";
	int r;

	image_container_hostname(o, place->dir->id, hostname);
	snprintf(cgroup, sizeof(cgroup), "lazyrun/%s", place->dir->id);
	c->terminal = o->terminal;
	c->interactive = o->interactive;
	c->init = o->init;
	c->no_new_privileges = o->no_new_privileges;
	c->root_readonly = o->read_only;
	c->user_namespace = namespaces_in_user();
	if (asprintf(&c->cwd, "%s%s", *cwd == '/' ? "" : "/", cwd) < 0) {
		c->cwd = NULL;
		return no_memory();
	}
	c->hostname = strdup(hostname);
	c->cgroup_path = o->no_cgroup ? NULL : strdup(cgroup);
	if (!c->hostname || (!c->cgroup_path && !o->no_cgroup))
		return no_memory();
	if ((r = add_mounts(c, o, place->file_trees)) < 0 || (r = set_args(c, o, image)) < 0 || (r = set_user(c, o, image)) < 0 ||
	    (r = set_overlay(c, place)) < 0 || (r = set_env(c, o, image, hostname)) < 0 || (r = set_capabilities(c, o)) < 0)
		return r;
	if (!o->seccomp_unconfined)
		r = seccomp_prepare(o->seccomp_profile, c->capabilities.bounding, place->seccomp_cache_fd, &c->seccomp);
	if (o->own_network)
		c->namespaces |= CLONE_NEWNET;
	for (size_t i = 0; i < o->ulimits.n_texts && r == 0; i++)
		r = volume_add_ulimit(c, o->ulimits.texts[i]);
	return r;
}
