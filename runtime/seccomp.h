/* seccomp: the program for a container, ready to install: built in, from the cache, or compiled once.
 *
 * Ownership  seccomp_prepare() fills a config_seccomp; config_free() ends it.
 * Units      -
 * Errors     Reported.
 * Threads    -
 * Source     seccomp(2). The built-in program: seccomp_gen.c at build time, from containers-common's profile and
 *            docker's default capabilities. Compiling takes libseccomp 20 ms, loading half a one.
 */
#pragma once

#include "runtime/config.h"

/* `profile`: a file in docker's format, or NULL for the default. `cache_dir_fd`: a directory of this user's alone,
 * or -1 to compile each time. */
int seccomp_prepare(const char *profile, uint64_t caps, int cache_dir_fd, struct config_seccomp *ret);

/* In init. Nothing when there is no program. */
int seccomp_install(const struct config_seccomp *s);
