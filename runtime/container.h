/* container: one container from its making to its end, in the foreground.
 *
 * Ownership  container_start() hands over; container_free() ends it, and kills what still runs. The config stays the
 *            caller's.
 * Units      The exit status is docker's: the command's own, 128 + signal, 125 when we could not make the
 *            container, 126 when the command cannot be executed, 127 when it is not there.
 * Errors     Reported.
 * Threads    The caller has exactly one. From container_go() to container_free() its signals are the container's.
 * Source     runtime-spec runtime.md.
 */
#pragma once

#include "runtime/config.h"

struct container;

struct stage;

/* Its first process is on its way, and will wait before it executes the command.
 * `stage`: made beforehand for such a config (stage.h), and used up: its descriptors are closed. NULL: none. */
int container_start(struct config *c, struct stage *stage, struct container **ret);

/* It waits no more. `timeout_ms`: how long it may take until it executes the command; 0: for ever. */
int container_go(struct container *k, int timeout_ms);

/* Waits until the command is executed, or cannot be (container_wait() then says the status). -ETIMEDOUT is returned
 * bare: the caller knows whom init was waiting for.
 * `ret_left_fd`: -1, or a descriptor of the container's mounts: as long as it is open they do not go when the
 * container ends, which takes as long as a tenth of a short run. A container with a volume or a kept upper directory
 * has none: what it used is free when container_wait() returns. */
int container_executed(struct container *k, int *ret_left_fd);

/* Waits for the end. *ret_status is set in any case; the return value is container_executed()'s. */
int container_wait(struct container *k, int *ret_status);
void container_free(struct container **k);
