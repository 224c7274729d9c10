/* shared: memory of a fixed size that processes share and that outlives the program that made it.
 *
 * All of it is there from the start, as addresses: pages come when they are first touched.
 *
 * Ownership  shared_make() hands over a descriptor and a mapping; shared_unmap() ends a mapping.
 * Units      Bytes.
 * Errors     Reported. -EBADMSG: a descriptor of another size.
 * Threads    Any.
 * Source     memfd_create(2). Sealed against other sizes, so that nobody can make a mapping end early.
 */
#pragma once

#include <stddef.h>

/* Zeros. The descriptor is close-on-exec. */
int shared_make(const char *name, size_t size, int *ret_fd, void **ret);
int shared_map(int fd, size_t size, void **ret);
void shared_unmap(void *at, size_t size);

/* Gives the pages back that lie wholly in the range; they read as zeros then. */
void shared_release(void *at, size_t size);
