/* scope: the server leaves its starter's cgroup, so that who ends the starter does not end the server.
 *
 * Ownership  -
 * Units      -
 * Errors     None: without the right to move (ordinary users, read-only cgroups) it stays where it is.
 * Threads    Call it single-threaded, before the fork of children.
 * Source     cgroups(7); the hierarchies by which systemd ends a unit: version 2, and name=systemd.
 */
#pragma once

/* Into "lazyrun/serve" below the root of each, unless we are in its root already. */
void scope_leave_starter(void);
