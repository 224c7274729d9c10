/* Looks at each container's locked file. */
#include "fetch/users.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/report.h"

static bool container_uses(const struct store *s, const char *id, const char *image_key)
{
	_cleanup_(bytes_free) struct bytes key = {0};
	_cleanup_(fd_close) int fd = -1;
	char path[300];

	snprintf(path, sizeof(path), "%s/image", id);
	fd = beneath_cache_open(s->containers_fd, path, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0) /* free: its container is gone */
		return false;
	if (fd_read_file(s->containers_fd, path, 4096, &key) < 0)
		return false;
	return strncmp((const char *)key.data, image_key, strlen(image_key)) == 0;
}

int users_check(const struct store *s, const char *image_key, const char *name)
{
	int fd = openat(s->containers_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;
	int r = 0;

	if (!dir) {
		fd_close(&fd);
		return -ENOMEM;
	}
	while (r == 0 && (d = readdir(dir)))
		if (d->d_name[0] != '.' && container_uses(s, d->d_name, image_key))
			r = fail(EBUSY, "%s is used by the running container %s; stop it first", name, d->d_name);
	closedir(dir);
	return r;
}
