/* cgroup: a container's own control group in each hierarchy of this host: v1, v2, or both side by side.
 *
 * Ownership  cgroup_create() hands over; cgroup_free() closes. cgroup_remove() takes the directories away.
 * Units      -
 * Errors     Reported, but for missing rights: where this user may not make a group, the container
 *            goes without one there (n_hierarchies says how many there are).
 * Threads    One.
 * Source     cgroups(7); kernel admin-guide cgroup-v1, cgroup-v2. The join: writing a pid to
 *            cgroup.procs waits for an RCU grace period (8 to 23 ms), a lone thread that writes "0" to
 *            "tasks" does not, nor does clone3(CLONE_INTO_CGROUP).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define CGROUP_HIERARCHIES 24

struct cgroup_hierarchy {
	char name[64]; /* directory below /sys/fs/cgroup; "" when v2 is mounted there itself */
	bool v2;
	int parent_fd, dir_fd; /* of the container's group: above it, and itself */
	int tasks_fd;	       /* v1 only */
	int view_fd;	       /* dir_fd as a detached mount, for the container's /sys/fs/cgroup */
};

struct cgroup {
	char leaf[128];
	size_t n_hierarchies;
	struct cgroup_hierarchy hierarchies[CGROUP_HIERARCHIES];
	bool devices_guarded; /* the container may use docker's default devices only */
};

/* `path`: "parent/id". Devices other than docker's defaults are denied unless `all_devices`. */
int cgroup_create(const char *path, bool all_devices, struct cgroup **ret);
void cgroup_free(struct cgroup **cg);

/* For clone3: the v2 directory, or -1. */
int cgroup_clone_fd(const struct cgroup *cg);

/* In the still single-threaded child: joins what v1 has. Only system calls. */
int cgroup_join(const struct cgroup *cg);

/* After the last process is gone. Never fails loudly: a group left behind is empty. */
void cgroup_remove(struct cgroup *cg);

/* The same by its path, for what a killed process has left. False: something in it still ends. Never waits. */
bool cgroup_sweep(const char *path);
