/* scope: the server leaves its starter's cgroups, so that who ends or limits the starter does not end the server.
 *
 * Ownership  -
 * Units      -
 * Errors     None: without the right to move (most ordinary users, read-only cgroups) it stays where it is.
 * Threads    Call it single-threaded, before the fork of children and before a user namespace.
 * Source     cgroups(7); the hierarchies by which systemd ends a unit: version 2, and name=systemd.
 */
#pragma once

/* Version 2, name=systemd and pids: into "lazyrun/serve" as near to the root as we may, with a limit of its own to the
 * number of threads. Other controllers of version 1: into their root. */
void scope_leave_starter(void);
