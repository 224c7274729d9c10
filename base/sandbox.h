/* sandbox: what a process of the server gives up for good before it parses anything.
 *
 * Ownership  Keeps nothing; the descriptors are borrowed for the call.
 * Units      Bytes.
 * Errors     Reported. A kernel without Landlock is none: said in the log once, and the rest holds.
 * Threads    Before the first thread is made: later ones inherit, earlier ones would be free.
 * Source     seccomp(2), landlock(7) (Linux 5.13), docs/security.md.
 */
#pragma once

#include <stdbool.h>

/* The fetcher: no capability, but root's CAP_DAC_READ_SEARCH (which it must have still) as long as something is named
 * that cannot be read without; writes in the store only, reads that, what named_paths.h lists and what name resolution
 * and TLS need, starts no program. */
int sandbox_enter_fetcher(int store_fd, int run_fd);
/* The server: no sockets of its own, no programs, no mounts. */
int sandbox_enter_server(void);

/* Whether a path was named since, or /etc/resolv.conf or another file that is allowed by its inode was replaced:
 * a sandbox cannot be widened, so only a new process sees them. */
bool sandbox_is_outdated(int run_fd);

/* The kernel's Landlock version; 0: none. */
int sandbox_landlock_version(void);
