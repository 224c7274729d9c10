/* remembered: the newest packet under each key, which every new fetcher gets before anything else.
 *
 * Ownership  A plain value in memory that the supervisor made at its start; remembered_init() empties it.
 *            Packets are copies, and bounded: the oldest ones make room.
 * Units      Bytes.
 * Errors     None.
 * Threads    One.
 * Source     base/message.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/limits.h"
#include "base/message.h"

#define REMEMBERED_MAX 256

struct remembered_packet {
	size_t size;
	unsigned place; /* in `data` */
	bool sent;	/* to this fetcher */
};

struct remembered {
	struct remembered_packet packets[REMEMBERED_MAX]; /* oldest first; behind the n-th: free places */
	size_t n, size;
	_Alignas(4096) uint8_t data[REMEMBERED_MAX][LIMIT_MESSAGE_SIZE];
};

void remembered_init(struct remembered *m);

/* Keeps a copy under its key, counted as sent: the fetcher gets it as a request. Without a key: nothing. */
void remembered_put(struct remembered *m, const struct message_head *h, size_t size);
/* Drops the packet with this one's key. */
void remembered_drop(struct remembered *m, const struct message_head *h);

void remembered_all_unsent(struct remembered *m);
/* The first one that the fetcher has not had, as a REPLAY, its head in *ret_head; NULL: none. */
struct remembered_packet *remembered_next(struct remembered *m, const struct message_head **ret_head);
