/* worker: a process of its own for work that a silent server could hold up for ever, and a watch on it.
 *
 * A process that waits for a FUSE server can be ended by SIGKILL alone, so whoever has to say that the
 * server is silent must be another one. worker_start() returns twice, as fork(2) does: in the worker, which
 * goes on with the command, and in the watcher when the worker has ended.
 *
 * Ownership  The connection is the command's; both have it, the worker uses it.
 * Units      Seconds, of session_timeout().
 * Errors     -ETIMEDOUT, reported by client_blame(): the worker made no step for so long, and was killed.
 * Threads    The process has one thread.
 * Source     KERNEL.md E: kill -9 ends a waiting reader at once.
 */
#pragma once

#include "cli/client.h"

/* Returns 0 in the worker. In the watcher: 1 when the worker has ended, its exit code in *ret_code. `what` is
 * what it waits for, for the message. */
int worker_start(struct client *c, const char *what, int *ret_code);

/* The worker has made a step: the time counts from here again. */
void worker_step(void);
