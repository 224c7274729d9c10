/* channel: requests from /dev/fuse to libfuse and replies back, through processes that may die.
 *
 * The kernel says INIT once. The first server records it; a later one replays it into its own libfuse
 * (the kernel refuses the second reply, which is right) and has the kernel send again what its
 * predecessor had read and not answered.
 *
 * Ownership  Borrows session, control page and descriptor. One channel in a process.
 * Units      -
 * Errors     Reported. -ENODEV: the mount is gone, or must end: a kernel before Linux 6.9 cannot send again.
 * Threads    channel_start() makes the workers. They end when the mount is gone.
 * Source     linux/fuse.h (FUSE_NOTIFY_RESEND, Linux 6.9); libfuse fuse_session_custom_io(); KERNEL.md C.
 */
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

#include "fs/control.h"

/* Returns when INIT is done and the workers run. *ret_end_fd (an eventfd) becomes readable when the
 * mount is gone. */
int channel_start(struct fuse_session *se, struct control *control, int dev_fd, int *ret_end_fd);
