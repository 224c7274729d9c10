/* stage: what is alike in each container of an image, made before there is one: the mount, IPC and UTS namespaces, with
 * the root entered and the early mounts (config.h) in place. What is a container's own (its /proc, its group, volumes,
 * what is masked) is added by its init.
 *
 * Ownership  The caller's; stage_free() closes. The namespaces live as long as a descriptor or a process of theirs.
 * Units      -
 * Errors     Reported.
 * Threads    stage_make() moves its caller, which has one thread and ends soon after, into the namespaces.
 * Source     setns(2), namespaces(7).
 */
#pragma once

#include "runtime/config.h"

enum { STAGE_MOUNT, STAGE_IPC, STAGE_UTS, STAGE_FDS };

struct stage {
	int fds[STAGE_FDS]; /* -1: none */
};

#define STAGE_NONE ((struct stage){{-1, -1, -1}})

/* The namespaces that come with it: CLONE_NEW*. */
uint64_t stage_namespaces(void);

/* `c` makes all of them, and has an overlay as its root. Descriptors of its early mounts are used up. The caller is in it
 * then, as its umask is 0. */
int stage_make(const struct config *c);

/* Of a process that is in it. -errno bare. */
int stage_open(pid_t pid, struct stage *ret);

/* In init: enters it, and returns its root as a descriptor, which is its caller's root and directory as well. */
int stage_enter(const struct stage *s);
void stage_free(struct stage *s);
