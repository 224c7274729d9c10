/* namespace: the user and mount namespace in which an ordinary user's images are mounted.
 *
 * Ownership  -
 * Units      -
 * Errors     Reported, with what the system forbids and how to allow it.
 * Threads    The process must be single-threaded (unshare(2), CLONE_NEWUSER).
 * Source     user_namespaces(7), newuidmap(1), subuid(5).
 */
#pragma once

/* Enters both. The user is 0 inside, followed by all of its ranges in /etc/subuid and /etc/subgid;
 * without ranges, or without newuidmap, the user alone (then every other owner shows as 0).
 * Mounts of the host keep coming in, ours do not go out. */
int namespace_enter(void);
