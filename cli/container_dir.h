/* container_dir: a container's directory in the store: its upper and work directory and three small files.
 *
 * Ownership  container_dir_new() hands over; container_dir_free() removes the directory (but never a kept upper) and
 *            ends it. As long as it is open its lock says that the container lives; directories whose lock is free are
 *            what killed commands left, and the next container_dir_new() removes them.
 * Units      -
 * Errors     Reported.
 * Threads    One.
 * Source     flock(2); overlayfs.rst (upper and work on one file system).
 */
#pragma once

#include <stdbool.h>

struct container_dir {
	char id[65];
	int dir_fd;	/* flocked */
	int upper_fd, work_fd;
	int parent_fd;	/* containers/ */
	bool keep_upper;
	char *path;	/* for binds: <store>/containers/<id> */
};

/* `lower_fd`: whose root the upper directory takes its mode and owner from. `kept`: --upper's directory, or NULL. */
int container_dir_new(const char *store_path, int containers_fd, int lower_fd, const char *kept, struct container_dir **ret);
void container_dir_free(struct container_dir **d);

/* /etc/hosts, /etc/hostname and /etc/resolv.conf as files "hosts", "hostname", "resolv.conf" in the directory. */
int container_dir_write_files(struct container_dir *d, const char *hostname, bool own_network);
