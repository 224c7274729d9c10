/* Looks at each container's locked directory, and at the mounts. */
#include "fetch/users.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/report.h"

/* The shared lock is held for a moment: a container that is just being made waits for it (container_dir). */
static bool container_uses(const struct store *s, const char *id, const char *image_key)
{
	_cleanup_(bytes_free) struct bytes key = {0};
	_cleanup_(fd_close) int fd = beneath_cache_open(s->containers_fd, id, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0 || fd_read_file(fd, "image", 4096, &key) < 0)
		return false;
	if (strcmp((const char *)key.data, image_key) != 0)
		return false;
	return flock(fd, LOCK_SH | LOCK_NB) < 0; /* free: its container is gone */
}

static int check_containers(const struct store *s, const char *image_key, const char *name)
{
	int fd = openat(s->containers_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;
	int r = 0;

	if (!dir) {
		r = fail(errno, "%s/containers: %s", s->store_path, strerror(errno));
		fd_close(&fd);
		return r;
	}
	while (r == 0 && (d = readdir(dir)))
		if (d->d_name[0] != '.' && container_uses(s, d->d_name, image_key))
			r = fail(EBUSY, "%s is used by the running container %.12s; end it first", name, d->d_name);
	closedir(dir);
	return r;
}

int users_check(const struct store *s, struct holds *holds, const char *image_key, const char *name)
{
	char mount[PATH_MAX];

	if (holds_find(holds, image_key, mount, sizeof(mount)))
		return fail(EBUSY, "%s is mounted at %s; run: lazyrun umount %s", name, mount, mount);
	return check_containers(s, image_key, name);
}
