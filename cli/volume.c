/* Options are looked up in one table; what is not in it is named in the error. */
#include "cli/volume.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "base/fd.h"
#include "base/report.h"

static const struct {
	const char *name;
	uint64_t set, clear;
} attributes[] = {
	{"ro", MOUNT_ATTR_RDONLY, 0},	    {"readonly", MOUNT_ATTR_RDONLY, 0}, {"rw", 0, MOUNT_ATTR_RDONLY},
	{"nosuid", MOUNT_ATTR_NOSUID, 0},   {"suid", 0, MOUNT_ATTR_NOSUID},	{"nodev", MOUNT_ATTR_NODEV, 0},
	{"dev", 0, MOUNT_ATTR_NODEV},	    {"noexec", MOUNT_ATTR_NOEXEC, 0},	{"exec", 0, MOUNT_ATTR_NOEXEC},
	{"noatime", MOUNT_ATTR_NOATIME, 0},
};

/* Said by people, without a meaning here: SELinux labels, macOS caching, docker's volumes' own. */
static const char *const ignored[] = {"z", "Z", "nocopy", "copy", "cached", "delegated", "consistent",
				      "private", "rprivate", "rbind", ""};

static bool apply_attribute(const char *option, uint64_t *set)
{
	for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
		if (strcmp(attributes[i].name, option) == 0) {
			*set = (*set | attributes[i].set) & ~attributes[i].clear;
			return true;
		}
	return false;
}

static bool is_ignored(const char *option)
{
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		if (strcmp(ignored[i], option) == 0)
			return true;
	return false;
}

static int read_volume_options(const char *text, char *options, uint64_t *ret_attributes, bool *ret_recursive)
{
	for (char *option; (option = strsep(&options, ","));) {
		if (strcmp(option, "bind") == 0)
			*ret_recursive = false;
		else if (!apply_attribute(option, ret_attributes) && !is_ignored(option))
			return fail(EOPNOTSUPP, "run: --volume %s: the option \"%s\": not yet", text, option);
	}
	return 0;
}

static int check_destination(const char *flag, const char *text, const char *destination)
{
	if (!destination || destination[0] != '/')
		return fail(EINVAL, "run: %s %s: the place in the container must be an absolute path", flag, text);
	if (strspn(destination, "/.") == strlen(destination))
		return fail(EINVAL, "run: %s %s: nothing can be mounted over the container's root", flag, text);
	return 0;
}

int volume_add(struct config *c, const char *text)
{
	_cleanup_(fd_free_memory) char *copy = strdup(text), *source = NULL;
	char *rest = copy, *from, *to, *options;
	struct config_mount *m;
	uint64_t attr = 0;
	bool recursive = true;
	int r;

	if (!copy)
		return fail(ENOMEM, "out of memory");
	from = strsep(&rest, ":");
	to = strsep(&rest, ":");
	options = rest;
	if (!to)
		return fail(EOPNOTSUPP, "run: --volume %s: volumes without a name: not yet; write SRC:DST", text);
	if (from[0] != '/' && from[0] != '.')
		return fail(EOPNOTSUPP, "run: --volume %s: volumes by name: not yet; a directory is written /... or ./...",
			    text);
	r = check_destination("--volume", text, to);
	if (r == 0)
		r = read_volume_options(text, options, &attr, &recursive);
	if (r < 0)
		return r;
	source = realpath(from, NULL);
	if (!source)
		return fail(errno, "run: --volume %s: %s: %s", text, from, strerror(errno));
	if (config_add_mount(c, "bind", source, to, NULL, attr, &m) < 0)
		return fail(ENOMEM, "out of memory");
	m->recursive = recursive;
	return 0;
}

static bool is_tmpfs_data(const char *option)
{
	static const char *const keys[] = {"size=", "mode=", "uid=", "gid=", "nr_inodes=", "nr_blocks="};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strncmp(option, keys[i], strlen(keys[i])) == 0)
			return true;
	return false;
}

int volume_add_tmpfs(struct config *c, const char *text)
{
	_cleanup_(fd_free_memory) char *copy = strdup(text);
	_cleanup_(bytes_free) struct bytes data = {0};
	uint64_t attr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	char *rest = copy, *destination;
	int r;

	if (!copy)
		return fail(ENOMEM, "out of memory");
	destination = strsep(&rest, ":");
	r = check_destination("--tmpfs", text, destination);
	for (char *option; r == 0 && (option = strsep(&rest, ","));) {
		if (is_tmpfs_data(option))
			r = bytes_printf(&data, "%s%s", data.size ? "," : "", option);
		else if (!apply_attribute(option, &attr) && !is_ignored(option) && strcmp(option, "tmpcopyup") != 0)
			return fail(EINVAL, "run: --tmpfs %s: there is no option \"%s\"", text, option);
	}
	if (r == 0)
		r = bytes_terminate(&data);
	if (r == 0)
		r = config_add_mount(c, "tmpfs", NULL, destination, data.size ? (const char *)data.data : NULL, attr, NULL);
	return r < 0 && !report_any() ? fail(-r, "%s", strerror(-r)) : r;
}

static const struct {
	const char *name;
	int resource;
} limits[] = {
	{"as", RLIMIT_AS},	     {"core", RLIMIT_CORE},	    {"cpu", RLIMIT_CPU},	 {"data", RLIMIT_DATA},
	{"fsize", RLIMIT_FSIZE},     {"locks", RLIMIT_LOCKS},	    {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE},
	{"nice", RLIMIT_NICE},	     {"nofile", RLIMIT_NOFILE},	    {"nproc", RLIMIT_NPROC},	 {"rss", RLIMIT_RSS},
	{"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME},	    {"sigpending", RLIMIT_SIGPENDING},
	{"stack", RLIMIT_STACK},
};

/* "unlimited" and -1 are no limit. */
static bool read_limit(const char *text, uint64_t *ret)
{
	char *end;

	if (strcmp(text, "unlimited") == 0 || strcmp(text, "-1") == 0) {
		*ret = RLIM_INFINITY;
		return true;
	}
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return !errno && end != text && !*end && text[0] != '-';
}

static int add_rlimit(struct config *c, int resource, uint64_t soft, uint64_t hard)
{
	struct config_rlimit *grown = realloc(c->rlimits, (c->n_rlimits + 1) * sizeof(*grown));

	if (!grown)
		return fail(ENOMEM, "out of memory");
	c->rlimits = grown;
	grown[c->n_rlimits++] = (struct config_rlimit){resource, soft, hard};
	return 0;
}

int volume_add_ulimit(struct config *c, const char *text)
{
	_cleanup_(fd_free_memory) char *copy = strdup(text);
	char *rest = copy, *name, *soft_text;
	struct rlimit now;
	uint64_t soft, hard;

	if (!copy)
		return fail(ENOMEM, "out of memory");
	name = strsep(&rest, "=");
	soft_text = strsep(&rest, ":");
	if (!soft_text || !read_limit(soft_text, &soft) || (rest && !read_limit(rest, &hard)))
		return fail(EINVAL, "run: --ulimit %s: it is NAME=SOFT[:HARD], like nofile=1024:2048", text);
	if (!rest)
		hard = soft;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		if (strcmp(limits[i].name, name) != 0)
			continue;
		if (soft > hard)
			return fail(EINVAL, "run: --ulimit %s: the soft limit is above the hard one", text);
		if (getrlimit((__rlimit_resource_t)limits[i].resource, &now) == 0 && hard > now.rlim_max)
			report_note("run: --ulimit %s is above this shell's hard limit of %llu", text,
				    (unsigned long long)now.rlim_max);
		return add_rlimit(c, limits[i].resource, soft, hard);
	}
	return fail(EINVAL, "run: --ulimit %s: there is no limit named \"%s\"", text, name);
}
