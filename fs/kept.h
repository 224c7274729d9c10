/* kept: what outlives server and fetcher, and with serve --replace the supervisor's own program.
 *
 * The memory that processes share, descriptors, and the children. kept_give() executes another program in
 * this process, which takes it all with kept_take(): the mount, the namespaces, the locks, the commands'
 * connections, the numbers and what is remembered stay. The two must lay it out alike, which their
 * kept_formats say before anything is done.
 *
 * Ownership  kept_make() and kept_take() fill the struct in; kept_close() closes descriptors.
 * Units      -
 * Errors     Reported. kept_give() returns only when the program was not executed.
 * Threads    One.
 * Source     docs/design.md, "Takeover"; execveat(2).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cache/number_table.h"
#include "cache/store.h"
#include "fs/child.h"
#include "fs/control.h"
#include "fs/relay.h"

#define KEPT_VERSION 1u /* raised when the meaning of anything kept changes */

/* Compared byte by byte. */
struct kept_format {
	uint32_t version, message_magic;
	uint64_t kept_size, relay_size, numbers_size, control_size;
};

enum kept_role { KEPT_SERVER, KEPT_FETCHER, KEPT_ROLES };

enum kept_fd {
	KEPT_NEED_SERVER, /* the two ends of one pair, for whichever process is the present one: by role */
	KEPT_NEED_FETCHER,
	KEPT_DEV_FUSE,
	KEPT_SIGNALS,
	KEPT_USER_NS, /* -1 for root */
	KEPT_MOUNT_NS,
	KEPT_STORE_LOCK,
	KEPT_RUN_LOCK,
	KEPT_RELAY, /* shared memory, these three */
	KEPT_NUMBERS,
	KEPT_CONTROL,
	KEPT_FDS
};

struct kept {
	struct kept_format format;
	int fds[KEPT_FDS];
	struct child children[KEPT_ROLES];
	uint64_t budget; /* these two as in struct supervisor_setup */
	int idle_seconds;
};

/* What is mapped. */
struct kept_memory {
	struct relay *relay;
	struct number_table *numbers;
	struct control *control;
};

/* All descriptors -1. */
struct kept kept_none(void);
void kept_format_here(struct kept_format *ret);

/* Makes everything but the locks, which the caller puts in, and the mount's KEPT_DEV_FUSE. */
int kept_make(const struct store *store, bool rootless, struct kept *k, struct kept_memory *m);

/* In a child of this role: closes all that is not its part. */
void kept_close_others(struct kept *k, enum kept_role role);

/* Executes `program_fd` in this process: `serve --resume` of this store. */
int kept_give(const struct kept *k, const struct kept_memory *m, const struct store *store, int program_fd);
/* In that program: from the descriptor that --resume names. */
int kept_take(int fd, struct kept *k, struct kept_memory *m);
