/* caps: capabilities by name, and putting a process's sets as a config wants them.
 *
 * Ownership  Plain values.
 * Units      Bit n of a set is capability n.
 * Errors     -EINVAL (reported): no such capability. Others reported.
 * Threads    Only init sets its own.
 * Source     capabilities(7); docker's default list (moby oci/caps/defaults.go).
 */
#pragma once

#include <linux/capability.h>
#include <stdint.h>

#include "runtime/config.h"

#define CAPS_BIT(c) (UINT64_C(1) << (c))
#define CAPS_DEFAULT                                                                                    \
	(CAPS_BIT(CAP_CHOWN) | CAPS_BIT(CAP_DAC_OVERRIDE) | CAPS_BIT(CAP_FSETID) | CAPS_BIT(CAP_FOWNER) | \
	 CAPS_BIT(CAP_MKNOD) | CAPS_BIT(CAP_NET_RAW) | CAPS_BIT(CAP_SETGID) | CAPS_BIT(CAP_SETUID) |    \
	 CAPS_BIT(CAP_SETFCAP) | CAPS_BIT(CAP_SETPCAP) | CAPS_BIT(CAP_NET_BIND_SERVICE) |               \
	 CAPS_BIT(CAP_SYS_CHROOT) | CAPS_BIT(CAP_KILL) | CAPS_BIT(CAP_AUDIT_WRITE))

/* "NET_ADMIN", "cap_net_admin", or "ALL": all that this kernel has and we hold. */
int caps_parse(const char *name, uint64_t *ret);

/* Drops the bounding set; before the user changes, because it needs CAP_SETPCAP. */
int caps_bound(const struct config_capabilities *c);

/* What is kept over a change of user (PR_SET_KEEPCAPS) is no longer in effect: puts it in effect again. */
int caps_raise(void);

/* Sets the others; after the user changed (with PR_SET_KEEPCAPS). */
int caps_apply(const struct config_capabilities *c);
