/* init: what a container's first process does, from its birth to the command.
 *
 * Ownership  Everything in the plan is the parent's and copied by the fork.
 * Units      -
 * Errors     Their text goes to the parent over sync; the process ends with 125.
 * Threads    Single, in a copy of a single-threaded parent.
 * Source     runtime-spec runtime.md "Lifecycle"; the order is in init.c.
 */
#pragma once

#include <sys/ioctl.h>

#include "runtime/cgroup.h"
#include "runtime/config.h"

struct init_plan {
	struct config *config; /* init's own copy of it */
	const struct cgroup *cgroup;
	const struct stage *stage; /* where init begins, or NULL */
	int *trees; /* room for one per mount */
	int sync_fds[2];
	int launcher_fd;
	struct winsize size; /* of a terminal */
};

void init_run(struct init_plan *p) __attribute__((noreturn));

/* The sealed file that init executes last (launcher.c). In the parent. */
int init_launcher(void);
