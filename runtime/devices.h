/* devices: what a container finds in /dev.
 *
 * Ownership  -
 * Units      -
 * Errors     Reported.
 * Threads    Init only.
 * Source     runtime-spec config-linux.md, "Default Devices"; "/dev symbolic links" of the spec's runtime-linux.md.
 */
#pragma once

#include "runtime/config.h"

/* Fills the fresh tmpfs `dev_fd`: nodes made by mknod, in a user namespace the host's bound; links. */
int devices_make(const struct config *c, int dev_fd);

/* Checks that `fd` is the null device, so that it may stand in for masked files (CVE-2025-31133). */
int devices_check_null(int fd);

/* Shows the terminal's slave side as /dev/console (CVE-2025-52565: by descriptor, checked by its maker). */
int devices_bind_console(int dev_fd, int slave_fd);
