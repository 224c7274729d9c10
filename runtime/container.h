/* container: one container from its making to its end, in the foreground.
 *
 * Ownership  The config stays the caller's.
 * Units      The exit status is docker's: the command's own, 128 + signal, 125 when we could not make the
 *            container, 126 when the command cannot be executed, 127 when it is not there.
 * Errors     Reported; *ret_status is set nevertheless.
 * Threads    The caller has exactly one.
 * Source     runtime-spec runtime.md.
 */
#pragma once

#include "runtime/config.h"

/* `timeout_ms`: how long init may take until it executes the command; 0: for ever. Then it is killed, and -ETIMEDOUT
 * is returned bare: the caller knows whom init was waiting for.
 * `ret_left_fd`: -1, or a descriptor of the ended container's mounts; closing the last one frees them, which takes as
 * long as a tenth of a short run, so it is best left to a process that nobody waits for. A container with a volume
 * or a kept upper directory leaves none: what it used is free when this returns. */
int container_run(struct config *c, int timeout_ms, int *ret_status, int *ret_left_fd);
