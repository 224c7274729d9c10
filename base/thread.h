/* thread: a thread, with a stack that is large enough for everything here and not the 8 MiB of the default.
 *
 * Ownership  thread_start()'s thread is joined by the caller; a detached one ends by itself.
 * Units      -
 * Errors     -errno of pthread_create(3), bare: there is no thread then, and `run` was not called.
 * Threads    Any.
 * Source     pthread_attr_setstacksize(3).
 */
#pragma once

#include <pthread.h>

int thread_start(pthread_t *ret, void *(*run)(void *), void *argument);
int thread_start_detached(void *(*run)(void *), void *argument);
