/* child: a process of the supervisor's that is started again when it dies.
 *
 * Ownership  A plain value of the supervisor's; all zero but pid_fd = -1 and its name at first.
 * Units      Milliseconds of clock_ms().
 * Errors     Reported.
 * Threads    One.
 * Source     pidfd_open(2), Linux 5.3; prctl(2), PR_SET_PDEATHSIG.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CHILD_LINGERING 16
#define CHILD_QUICK_DEATHS 12 /* in a row, right after the start: then the server is given up */

struct child {
	const char *name;
	pid_t pid;     /* 0: not running */
	int pid_fd;    /* readable when it is dead */
	int life_fd;   /* at its end when all threads of the child have let go of their descriptors; -1: not asked
			  for. A killed server may live on as one thread that waits in the kernel (notice.h) for
			  a page that only the next server brings: this tells that the next one may start. */
	pid_t lingering[CHILD_LINGERING]; /* such ones, to be reaped; 0: free */
	int64_t born;
	int64_t again; /* when to start it, while it is not running */
	unsigned quick_deaths;
	bool crashed; /* the last one ended by a fault of its own */
};

/* Returns 1 in the supervisor and 0 in the new process, which dies with the supervisor. `life`: with a life_fd. */
int child_start(struct child *c, bool life);

/* It is dead. Returns whether it ended by itself with exit code 0; else *c says when to start it again,
 * and the log why. */
bool child_reap(struct child *c);

/* Waits for its end until `deadline`, then kills it. */
void child_end(struct child *c, int64_t deadline);

/* In the new process, for its life: no capabilities but `keep` (1 << CAP_...), no way to new ones. */
void child_drop_capabilities(uint32_t keep);
