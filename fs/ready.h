/* ready: the starter is told that the server is up; from then on the log is where it speaks.
 *
 * Ownership  ready_say() closes `ready_fd`.
 * Units      -
 * Errors     Reported. A starter that has gone away is none.
 * Threads    One.
 * Source     -
 */
#pragma once

#include "cache/store.h"

#define READY_BYTE 'R'

/* Standard output and error move to <run>/log, standard input to nothing; then READY_BYTE is written.
 * `ready_fd` -1: stays with the terminal. */
int ready_say(const struct store *store, int ready_fd);
