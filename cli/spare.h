/* spare: what a container's end leaves for the next start, <store>/spare: an emptied container directory, and with it,
 * perhaps, a stage on it (keeper.h).
 *
 * With a file "facts" in it there is a stage, whose keeper listens at "keeper". A start with the same facts takes the
 * directory by one rename, and enters the stage; a start with other facts lets it stand.
 *
 * Ownership  Descriptors that are returned are the caller's.
 * Units      -
 * Errors     Bare: a start goes on without one.
 * Threads    One.
 * Source     -
 */
#pragma once

#include <stdbool.h>
#include <sys/un.h>

#include "base/bytes.h"
#include "base/digest.h"
#include "cache/number_table.h"
#include "cli/container_dir.h"
#include "cli/run_options.h"

/* A file: the id of the container to be, the image that the stage was made from, then what spare_facts() says. */
#define SPARE_FACTS "facts"
#define SPARE_SOCKET "keeper" /* who connects says one of: */
#define SPARE_TAKEN "t"
#define SPARE_DROPPED "d"
#define SPARE_ID_SIZE 64

struct spare_image {
	char key[IMAGE_KEY_SIZE];
	struct digest config_digest;
	uint64_t number; /* of the image in its server: another after it was removed */
	pid_t server;
};

/* What a stage depends on, known before the image is: flags, names, and the files and namespaces it is made from.
 * Stays empty where a stage cannot serve: a network or an upper directory of its own. */
int spare_facts(const struct run_options *o, const char *run_path, struct bytes *ret);

/* Renames it to containers/<id>, whose lock the caller holds. False: none. `facts` may be NULL: then only one without
 * a stage is taken, and `id` stays. With a stage `id` becomes the one it was made for, and *ret_keeper_fd is not -1. */
bool spare_take(const struct container_dir *d, const struct bytes *facts, char id[static 65], int *ret_keeper_fd);

/* Whether there is one: another would be for nothing. */
bool spare_is_there(const struct container_dir *d);

/* From container_dir_leave()'s child: `d` becomes the spare as it is. False: there is one already. */
bool spare_put(const struct container_dir *d);

/* The keeper's: whether `d` is still the spare, and to removed/ with it. It holds the lock of containers/. */
bool spare_is(const struct container_dir *d);
void spare_take_back(const struct container_dir *d);

/* Where a stage would be in the way: it keeps an image's files on the disk. Waits for the keeper's end. */
void spare_drop(const char *store_path);

/* Where the keeper listens; short, however long the store's path is. */
struct sockaddr_un spare_address(int dir_fd);
