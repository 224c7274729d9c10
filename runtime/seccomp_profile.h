/* seccomp_profile: docker's seccomp profile (JSON) turned into a BPF program by libseccomp.
 *
 * Ownership  The program is appended to a struct bytes of the caller's: an array of struct sock_filter.
 * Units      `caps` has bit n set for capability n (the container's bounding set).
 * Errors     -EBADMSG: the text is no profile. -EFBIG: a limit of limits.h. -EOPNOTSUPP: an action we
 *            do not have (notify). All reported with `name`.
 * Threads    Any; nothing is kept.
 * Source     docker's docs/seccomp.md; containers-common seccomp.json; seccomp_rule_add(3).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* Bits of *ret_flags are those of seccomp(2), SECCOMP_SET_MODE_FILTER. */
int seccomp_profile_compile(const void *text, size_t size, const char *name, uint64_t caps,
			    struct bytes *ret_program, uint32_t *ret_flags);

/* Parses and checks only (fuzzing). */
int seccomp_profile_check(const void *text, size_t size, const char *name);
