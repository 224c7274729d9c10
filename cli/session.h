/* session: what nearly every command begins with: the store opened, and a connection to its server.
 *
 * Ownership  session_open() hands over; session_close() ends both. Empty is {0}.
 * Units      Seconds.
 * Errors     Reported. -ENOENT of session_open_running() is bare: no server runs, or no store is there
 *            (then s->store may be NULL).
 * Threads    One thread.
 * Source     -
 */
#pragma once

#include "cache/store.h"
#include "cli/client.h"

struct session {
	struct store *store;
	struct client *client;
};

int session_open(struct session *s);
int session_open_running(struct session *s);
void session_close(struct session *s);

/* --timeout, which main() has put into LAZYRUN_TIMEOUT: how long a silent server is waited for. */
int session_timeout(int *ret);

/* Sends {"op": op, "reference": the canonical text of `image`} and hands out the answer. `image` may be
 * NULL, then there is no reference. */
int session_ask(struct session *s, const char *op, const char *image, struct json_object **ret);
