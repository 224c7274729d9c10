/* reader: READ requests; those for bytes that are not here wait without holding a thread.
 *
 * A parked read is a small struct in a list. It asks the fetcher for its pages, and is answered when
 * they are there, when they will not come, or when its reader was killed (FUSE_INTERRUPT).
 *
 * Ownership  reader_read() takes the request and a reference to the layer. The need socket is borrowed.
 * Units      Bytes of the layer file; pages in need packets.
 * Errors     Go to the kernel as the request's errno.
 * Threads    reader_read(): any worker. The others: the need thread alone. One mutex guards the list.
 *            A request's own lock (libfuse) is taken before it, never after.
 * Source     KERNEL.md A, E.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

#include "fetch/need.h"
#include "fs/image_view.h"

#define READER_SIZE_MAX 32768u /* of one READ: the mount's max_read */

struct reader;

/* `first`: the mount has had no server before: what that had refused would not be known. */
int reader_new(int need_fd, atomic_uint *n_parked, bool first, struct reader **ret);
void reader_free(struct reader **r);

/* A READ that may be readahead (readahead_is()) and is to be refused: not all of it is here, or what programs touch is
 * being noted, and that is not what the kernel guesses. */
bool reader_refuses(struct reader *r, struct image_view_layer *layer, uint64_t off, size_t size);

/* The range lies inside the layer file or the answer is EIO. `file_off`: where its file begins. */
void reader_read(struct reader *r, fuse_req_t request, struct image_view_layer *layer, uint64_t file_off, uint64_t off,
		 size_t size);

/* Pages went: what is read again is told again. */
void reader_forget_touched(struct reader *r);

/* Each read from now on is noted in this file (struct need_touched), which is taken over; -1: no more. */
void reader_record(struct reader *r, int fd);

/* Becomes readable when reader_tick() has something to do. */
int reader_event_fd(const struct reader *r);
/* Answers what was interrupted, asks again for what waits long or was not asked. Returns after how many
 * milliseconds to come again, -1: not before an event. */
int reader_tick(struct reader *r);

/* From now on a read of missing bytes is an error at once. */
void reader_end(struct reader *r);

/* NEED_DONE, NEED_FAILED and NEED_RESTART. */
void reader_need(struct reader *r, const struct need *n);
