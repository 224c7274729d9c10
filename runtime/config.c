/* Builders and docker's defaults. */
#include "runtime/config.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "base/fd.h"
#include "runtime/caps.h"

void config_init(struct config *c)
{
	*c = (struct config){.umask = 0022};
}

static void free_strings(char ***array)
{
	for (char **s = *array; s && *s; s++)
		free(*s);
	fd_free_memory(array);
}

static void free_mounts(struct config *c)
{
	for (size_t i = 0; i < c->n_mounts; i++) {
		free(c->mounts[i].type);
		free(c->mounts[i].source);
		free(c->mounts[i].destination);
		free(c->mounts[i].data);
		fd_close(&c->mounts[i].tree_fd);
	}
	free(c->mounts);
}

void config_free(struct config *c)
{
	free_strings(&c->args);
	free_strings(&c->env);
	free_strings(&c->masked_paths);
	free_strings(&c->readonly_paths);
	free_mounts(c);
	free_strings(&c->more_groups);
	free_strings(&c->overlay.lowers);
	free(c->overlay.upper);
	free(c->overlay.work);
	free(c->user);
	free(c->cwd);
	free(c->groups);
	free(c->rlimits);
	free(c->rootfs);
	free(c->hostname);
	free(c->cgroup_path);
	bytes_free(&c->seccomp.owned);
	config_init(c);
}

int config_append(char ***array, const char *text)
{
	size_t n = 0;
	char **grown, *copy;

	while (*array && (*array)[n])
		n++;
	copy = strdup(text);
	grown = copy ? realloc(*array, (n + 2) * sizeof(**array)) : NULL;
	if (!grown) {
		free(copy);
		return -ENOMEM;
	}
	grown[n] = copy;
	grown[n + 1] = NULL;
	*array = grown;
	return 0;
}

int config_set_env(struct config *c, const char *assignment)
{
	size_t name_size = (size_t)(strchrnul(assignment, '=') - assignment);

	for (char **e = c->env; e && *e; e++)
		if (strncmp(*e, assignment, name_size) == 0 && (*e)[name_size] == '=') {
			char *copy = strdup(assignment);

			if (!copy)
				return -ENOMEM;
			free(*e);
			*e = copy;
			return 0;
		}
	return config_append(&c->env, assignment);
}

const char *config_env(const struct config *c, const char *name)
{
	size_t size = strlen(name);

	for (char **e = c->env; e && *e; e++)
		if (strncmp(*e, name, size) == 0 && (*e)[size] == '=')
			return *e + size + 1;
	return NULL;
}

int config_add_mount(struct config *c, const char *type, const char *source, const char *destination,
		     const char *data, uint64_t attributes, struct config_mount **ret)
{
	struct config_mount *grown = realloc(c->mounts, (c->n_mounts + 1) * sizeof(*grown)), *m;

	if (!grown)
		return -ENOMEM;
	c->mounts = grown;
	m = &grown[c->n_mounts++];
	*m = (struct config_mount){
		.type = strdup(type),
		.source = source ? strdup(source) : NULL,
		.tree_fd = -1,
		.destination = strdup(destination),
		.data = data ? strdup(data) : NULL,
		.attributes = attributes,
	};
	if (!m->type || !m->destination || (source && !m->source) || (data && !m->data))
		return -ENOMEM;
	if (ret)
		*ret = m;
	return 0;
}

/* moby's oci/defaults.go and oci/caps: as of version 28. */
static const char *const masked_paths[] = {
	"/proc/asound",	    "/proc/acpi",	"/proc/interrupts",  "/proc/kcore",
	"/proc/keys",	    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
	"/proc/sched_debug", "/proc/scsi",	"/sys/firmware",     "/sys/devices/virtual/powercap",
};
static const char *const readonly_paths[] = {
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

static int add_default_mounts(struct config *c, uint64_t shm_size)
{
	const uint64_t closed = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	struct config_mount *m;
	char shm[64];
	int r;

	snprintf(shm, sizeof(shm), "mode=1777,size=%" PRIu64, shm_size);
	if ((r = config_add_mount(c, "tmpfs", NULL, "/dev", "mode=755,size=65536k",
				  MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME, NULL)) < 0 ||
	    (r = config_add_mount(c, "devpts", NULL, "/dev/pts", "newinstance,ptmxmode=0666,mode=0620,gid=5",
				  MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, NULL)) < 0 ||
	    (r = config_add_mount(c, "tmpfs", NULL, "/dev/shm", shm, closed, NULL)) < 0 ||
	    (r = config_add_mount(c, "mqueue", NULL, "/dev/mqueue", NULL, closed, &m)) < 0)
		return r;
	m->optional = true; /* CONFIG_POSIX_MQUEUE */
	if ((r = config_add_mount(c, "sysfs", NULL, "/sys", NULL, closed | MOUNT_ATTR_RDONLY, NULL)) < 0)
		return r;
	for (size_t i = 0; i < c->n_mounts; i++)
		c->mounts[i].early = true;
	/* Of the container's processes, and of its group. */
	if ((r = config_add_mount(c, "proc", NULL, "/proc", NULL, closed, NULL)) < 0 ||
	    (r = config_add_mount(c, "cgroup", NULL, "/sys/fs/cgroup", NULL, closed | MOUNT_ATTR_RDONLY, &m)) < 0)
		return r;
	m->optional = true;
	return 0;
}

int config_add_defaults(struct config *c, uint64_t shm_size)
{
	int r = add_default_mounts(c, shm_size);

	for (size_t i = 0; i < sizeof(masked_paths) / sizeof(masked_paths[0]) && r == 0; i++)
		r = config_append(&c->masked_paths, masked_paths[i]);
	for (size_t i = 0; i < sizeof(readonly_paths) / sizeof(readonly_paths[0]) && r == 0; i++)
		r = config_append(&c->readonly_paths, readonly_paths[i]);
	c->namespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
	c->capabilities.bounding = c->capabilities.effective = c->capabilities.permitted = CAPS_DEFAULT;
	return r;
}
