/* Small files first: names and blobs without their layers do no harm, and layers without them are useless. */
#include "fetch/sync_step.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"

/* Of a directory of small files those that are younger than the last round (-1: all), and the directory. */
static int sync_small(int dir_fd, const struct timespec *since)
{
	int list_fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);
	struct dirent *d;

	if (!dir) {
		r = -errno;
		fd_close(&list_fd);
		return r;
	}
	while (r == 0 && (d = readdir(dir))) {
		_cleanup_(fd_close) int fd = -1;
		struct stat st;

		if (d->d_name[0] == '.' || fstatat(dir_fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode) || st.st_mtim.tv_sec < since->tv_sec)
			continue;
		fd = openat(dir_fd, d->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd >= 0 && fsync(fd) < 0) /* else: removed meanwhile */
			r = -errno;
	}
	closedir(dir);
	return r == 0 && fsync(dir_fd) < 0 ? -errno : r;
}

static int sync_layers(struct context *c, const atomic_bool *stop)
{
	int fd = openat(c->store->layers_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir) {
		r = -errno;
		fd_close(&fd);
		return r;
	}
	while (r >= 0 && !atomic_load(stop) && (d = readdir(dir))) {
		_cleanup_(layer_store_free) struct layer_store *layer = NULL;

		if (d->d_name[0] == '.' || strlen(d->d_name) >= LAYER_KEY_SIZE ||
		    layer_table_get(c->layers, d->d_name, &layer) < 0)
			continue;
		r = layer_store_sync(c->store, layer);
		if (r == -ENOENT)
			r = 0; /* removed meanwhile */
	}
	closedir(dir);
	return r < 0 ? r : 0;
}

void sync_step(struct context *c, const atomic_bool *stop)
{
	static struct timespec since = {.tv_sec = -1}; /* of the last whole round; one round at a time */
	struct timespec now;
	int r;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	r = sync_small(c->store->blobs_fd, &since);
	if (r == 0)
		r = sync_small(c->store->names_fd, &since);
	if (r == 0)
		r = sync_layers(c, stop);
	if (r < 0)
		report_note("%s cannot be synced to the disk: %s; after a crash of the machine, images may be fetched again",
			    c->store->store_path, strerror(-r));
	else if (!atomic_load(stop))
		since = now;
}
