/* container_dir: a container's directory in the store: its upper and work directory and three small files.
 *
 * Ownership  container_dir_new() hands over; container_dir_free() ends it and has the directory removed (but
 *            never a kept upper) by a process that it leaves behind. As long as it is open its lock says that the
 *            container lives; directories whose lock is free are what killed commands left, and the next
 *            container_dir_new() removes them. The remover leaves one emptied directory for the next container
 *            (spare.h).
 * Units      -
 * Errors     Reported.
 * Threads    One.
 * Source     flock(2); overlayfs.rst (upper and work on one file system).
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/bytes.h"

struct container_dir {
	char id[65];
	int dir_fd;	/* flocked */
	int store_fd, parent_fd, removed_fd; /* the store, its containers/ and removed/ */
	int memory_fd;	/* where the three files are, -1 before */
	int keeper_fd;	/* -1, or who has the mounts on this directory ready (spare.h) */
	bool left;	/* a remover waits for our end */
	bool keep_upper;
	char *upper, *work; /* paths */
	char *path;	/* <store>/containers/<id> */
	const char *store_path; /* borrowed */
};

/* `kept`: --upper's directory, or NULL. `facts`: of a stage that will do (spare.h), or NULL. */
int container_dir_new(const char *store_path, const char *kept, const struct bytes *facts, struct container_dir **ret);
void container_dir_free(struct container_dir **d);

/* Freeing mounts and directories can take long (discard mounts wait for the disk), so a process of its own does it when
 * the command has ended. Making that process takes time, too: it is best made while the container runs.
 * `left_fd`: -1, or what it is to close behind the command (container.h). `kept_fd`: -1, or what stays open in it.
 * Like fork(2). In the child it returns when the command has ended, and only where a spare (spare.h) is wanted: `d` is
 * then a fresh, locked directory in removed/. */
pid_t container_dir_leave(struct container_dir *d, int left_fd, int kept_fd);

/* The end of that child: `d` becomes the spare, or, when it is not fresh any more, is removed. */
void container_dir_end(const struct container_dir *d, bool fresh) __attribute__((noreturn));

/* Says which image it uses: fetch/users.h reads it. Until then our connection to the server says so. */
int container_dir_set_image(const struct container_dir *d, const char *image_key);

/* /etc/hosts, /etc/hostname and /etc/resolv.conf (CONTAINER_DIR_FILES), each as a detached mount of the caller's. */
#define CONTAINER_DIR_FILES 3
int container_dir_files(struct container_dir *d, const char *hostname, bool own_network,
			int ret_trees[static CONTAINER_DIR_FILES]);
extern const char *const container_dir_file_names[CONTAINER_DIR_FILES];
