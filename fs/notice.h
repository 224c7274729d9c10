/* notice: what the kernel is told without having asked: names that were removed, and pages of evicted layers, so that
 * "evicted" means gone from memory too. (Pages that stay would be right.)
 *
 * The kernel may wait for pages and directories that are being read, and cannot be killed over that; who reads
 * them may wait for an answer that only the next server gives. So whoever gives notice has no descriptors but one of
 * the kernel's that carries no requests: the next server starts when the others are closed (child.h), and when
 * nobody starts one, the kernel ends what was read through the others.
 *
 * Ownership  notice_new() hands over, for the life of the process; all is borrowed.
 * Units      -
 * Errors     Reported to the log; a notice that is lost is given again by the next server, or costs memory.
 * Threads    Any may call; each notice has threads of its own.
 * Source     linux/fuse.h: FUSE_NOTIFY_INVAL_ENTRY with FUSE_EXPIRE_ONLY (Linux 6.2: before, the kernel lets go at
 *            once), FUSE_NOTIFY_INVAL_INODE, FUSE_DEV_IOC_CLONE; unshare(2), CLONE_FILES; KERNEL.md H.
 */
#pragma once

#include <stdint.h>

#include "fs/control.h"
#include "fs/image_view.h"

struct notices;

/* Counts n_invalidated and n_dropped up when an image's and a layer's notice was given. */
int notice_new(struct image_views *views, const struct number_table *numbers, int dev_fd, struct control *control,
	       struct notices **ret);

/* Before the kernel uses the image's name again, it asks; it then lets go of all below, or finds it unchanged. */
void notice_image_removed(struct notices *n, uint32_t image_number);
/* The same of all that were ever removed: whoever wanted to say so may have died. */
void notice_all_removed(struct notices *n);
void notice_layer_evicted(struct notices *n, uint32_t layer_number);

/* How many are not given yet. */
unsigned int notice_running(const struct notices *n);
