/* Looks at each container's locked directory, and at the mounts. */
#include "fetch/users.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/report.h"

void users_free(struct users *u)
{
	for (size_t i = 0; i < u->n; i++)
		free(u->list[i].how);
	free(u->list);
	*u = (struct users){0};
}

/* Takes over `how`. */
static int add(struct users *u, const char *image_key, char *how)
{
	struct user *more = how ? reallocarray(u->list, u->n + 1, sizeof(*more)) : NULL;

	if (!more) {
		free(how);
		return -ENOMEM;
	}
	u->list = more;
	snprintf(more[u->n].image_key, sizeof(more->image_key), "%s", image_key);
	more[u->n++].how = how;
	return 0;
}

/* The shared lock is held for a moment: a container that is just being made waits for it (container_dir). */
static int add_container(const struct store *s, const char *id, struct users *u)
{
	_cleanup_(bytes_free) struct bytes key = {0};
	_cleanup_(fd_close) int fd = beneath_cache_open(s->containers_fd, id, O_RDONLY | O_DIRECTORY, 0);
	char *how;
	int r;

	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP || fd == -EXDEV)
		return 0;
	r = fd < 0 ? fd : flock(fd, LOCK_SH | LOCK_NB) == 0 ? 1 : errno == EWOULDBLOCK ? 0 : -errno;
	if (r == 1)
		return 0; /* free: its container is gone */
	if (r == 0)
		r = fd_read_file(fd, "image", IMAGE_KEY_SIZE - 1, &key);
	if (r == -ENOENT || (r == 0 && key.data[0] == '\0'))
		return 0; /* it does not use any yet */
	if (r < 0)
		return fail(-r, "%s/containers/%s cannot be read: %s", s->store_path, id, strerror(-r));
	if (asprintf(&how, "is used by the running container %.12s; end it first", id) < 0)
		how = NULL;
	return add(u, (const char *)key.data, how);
}

static int add_containers(const struct store *s, struct users *u)
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
	while (r == 0 && (errno = 0, d = readdir(dir)))
		if (d->d_name[0] != '.')
			r = add_container(s, d->d_name, u);
	if (r == 0 && errno)
		r = fail(errno, "%s/containers: %s", s->store_path, strerror(errno));
	closedir(dir);
	return r;
}

int users_list(const struct store *s, struct holds *holds, struct users *ret)
{
	_cleanup_(users_free) struct users u = {0};
	char key[IMAGE_KEY_SIZE], mount[PATH_MAX];
	int r = add_containers(s, &u);

	for (size_t i = 0; r == 0 && holds_get(holds, i, key, sizeof(key), mount, sizeof(mount)); i++) {
		char *how;

		if (asprintf(&how, "is mounted at %s; run: lazyrun umount %s", mount, mount) < 0)
			how = NULL;
		r = add(&u, key, how);
	}
	if (r < 0)
		return r;
	*ret = u;
	u = (struct users){0};
	return 0;
}

int users_check(const struct users *u, const char *image_key, const char *name)
{
	for (size_t i = 0; i < u->n; i++)
		if (strcmp(u->list[i].image_key, image_key) == 0)
			return fail(EBUSY, "%s %s", name, u->list[i].how);
	return 0;
}
