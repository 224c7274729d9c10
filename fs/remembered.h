/* remembered: the newest packet under each key, which every new fetcher gets before anything else.
 *
 * Ownership  A plain value, all zero at first; remembered_free() ends it. Packets are copies, and bounded:
 *            the oldest ones make room.
 * Units      Bytes.
 * Errors     -ENOMEM, bare.
 * Threads    One.
 * Source     base/message.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/message.h"

#define REMEMBERED_MAX 256

struct remembered_packet {
	struct message_head *data; /* and the text behind it */
	size_t size;
	bool sent; /* to this fetcher */
};

struct remembered {
	struct remembered_packet packets[REMEMBERED_MAX]; /* oldest first */
	size_t n, size;
};

void remembered_free(struct remembered *m);

/* Keeps a copy under its key, counted as sent: the fetcher gets it as a request. Without a key: nothing. */
int remembered_put(struct remembered *m, const struct message_head *h, size_t size);
/* Drops the packet with this one's key. */
void remembered_drop(struct remembered *m, const struct message_head *h);

void remembered_all_unsent(struct remembered *m);
/* The first one that the fetcher has not had, as a REPLAY; NULL: none. */
struct remembered_packet *remembered_next(struct remembered *m);
