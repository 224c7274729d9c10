/* namespaces: cloning the first process into new namespaces, and questions about our own.
 *
 * Ownership  namespaces_clone() hands the parent a pidfd.
 * Units      -
 * Errors     Reported.
 * Threads    The caller has one thread: the child goes on in a copy of its memory.
 * Source     clone3(2): CLONE_INTO_CGROUP Linux 5.7, CLONE_PIDFD 5.4.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* As fork(): 0 in the child. `cgroup_fd`: a v2 directory to be born in, or -1. Mount and cgroup namespace are left to
 * namespaces_enter(): init still needs the caller's mounts, and a cgroup namespace's root is where the process stands
 * when it is made. */
pid_t namespaces_clone(uint64_t namespaces, int cgroup_fd, int *ret_pidfd);
int namespaces_enter(uint64_t namespaces);

/* "lo" is up in a network namespace of our own. */
int namespaces_own_network(uint64_t namespaces);

/* Whether this process lives in a user namespace that is not the first one. */
bool namespaces_in_user(void);

/* Whether group `gid` has a number outside. */
bool namespaces_map_gid(uint32_t gid);
