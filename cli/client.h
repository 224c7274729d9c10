/* client: a command's connection to the server of its store, which is started when none runs.
 *
 * A request that may take long (op "ensure") is sent with "progress": true, because a server that
 * sends nothing for the timeout counts as silent.
 *
 * Ownership  client_open() hands over; client_free() closes. While it is open, the server stays.
 *            client_receive() and client_request() hand over a json-c object. The store is borrowed.
 * Units      Seconds.
 * Errors     Reported, except: -ENOENT of client_open_running() (no server runs) is bare. -ETIMEDOUT
 *            names the silent process, its pid and the log. A LAST packet's errno is reported with its
 *            text. -EPIPE: cut off twice.
 * Threads    One thread; client_join() wants the process to have no other (setns(2), CLONE_NEWUSER).
 * Source     base/message.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <json-c/json_object.h>

#include "cache/store.h"

#define CLIENT_TIMEOUT 60 /* default of --timeout */

struct client;

/* Connects to <run>/socket, starts `lazyrun-image serve` first where nobody listens. `timeout` 0:
 * CLIENT_TIMEOUT. */
int client_open(const struct store *s, int timeout, struct client **ret);
/* The same without starting one. */
int client_open_running(const struct store *s, int timeout, struct client **ret);
void client_free(struct client **c);

/* Sends a request; one at a time. `remember` (16 bytes) may be NULL. The object stays the caller's. */
int client_send(struct client *c, struct json_object *request, const uint8_t *remember);

/* The next packet of the request: 1 with an event (more will come), 0 with the answer. When the server
 * left or died meanwhile, the request is sent once more to its successor. */
int client_receive(struct client *c, struct json_object **ret);

/* Sends, passes over events, hands out the answer. */
int client_request(struct client *c, struct json_object *request, const uint8_t *remember,
		   struct json_object **ret);

/* Rootless: enters the user and mount namespace where the images are mounted, as their root; the
 * working directory is found again by its path. Nothing to do for root, or when already there. */
int client_join(struct client *c);
/* Whether there is something to enter: root's images are mounted where root is, and in the server's
 * namespaces everybody is root. */
bool client_has_to_join(void);

/* Reports which of supervisor, server and fetcher keeps this command waiting for `what`, and returns
 * -ETIMEDOUT. For waits of the caller's own, like a mount that does not come about. */
int client_blame(struct client *c, const char *what);

pid_t client_supervisor_pid(const struct client *c);
