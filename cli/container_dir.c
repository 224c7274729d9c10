/* The directory containers/ is locked while one is made, so that a sweep never meets a half-made one. */
#include "cli/container_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"

static int new_id(char id[static 65])
{
	uint8_t random[32];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return fail(EIO, "getrandom: %s", strerror(errno));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(id + 2 * i, 3, "%02x", random[i]);
	return 0;
}

/* Removes what nobody holds. Failures are the next start's. */
static void sweep(int containers_fd)
{
	int list_fd = openat(containers_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = list_fd >= 0 ? fdopendir(list_fd) : NULL;
	struct dirent *d;

	if (!dir) {
		fd_close(&list_fd);
		return;
	}
	while ((d = readdir(dir))) {
		_cleanup_(fd_close) int fd = -1;

		if (d->d_name[0] == '.')
			continue;
		fd = openat(containers_fd, d->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			fd_remove_tree(containers_fd, d->d_name);
	}
	closedir(dir);
}

static int open_upper(struct container_dir *d, const char *kept, int lower_fd)
{
	_cleanup_(fd_close) int kept_fd = -1;
	int base_fd = d->dir_fd;
	struct stat st;

	if (kept) {
		kept_fd = fd_open_dir(AT_FDCWD, kept, true);
		if (kept_fd < 0)
			return fail(-kept_fd, "run: --upper %s: %s", kept, strerror(-kept_fd));
		base_fd = kept_fd;
		d->keep_upper = true;
	}
	d->upper_fd = fd_open_dir(base_fd, "upper", true);
	d->work_fd = fd_open_dir(base_fd, "work", true);
	if (d->upper_fd < 0 || d->work_fd < 0)
		return fail(d->upper_fd < 0 ? -d->upper_fd : -d->work_fd, "making the upper directory: %s",
			    strerror(d->upper_fd < 0 ? -d->upper_fd : -d->work_fd));
	/* The merged root shows the upper directory's own attributes. */
	if (fstat(lower_fd, &st) < 0 || fchown(d->upper_fd, st.st_uid, st.st_gid) < 0 ||
	    fchmod(d->upper_fd, st.st_mode & 07777) < 0)
		return fail(errno, "making the upper directory: %s", strerror(errno));
	return 0;
}

static int make(struct container_dir *d, const char *store_path, const char *kept, int lower_fd)
{
	int r = new_id(d->id);

	if (r < 0)
		return r;
	if (asprintf(&d->path, "%s/containers/%s", store_path, d->id) < 0) {
		d->path = NULL;
		return fail(ENOMEM, "out of memory");
	}
	d->dir_fd = fd_open_dir(d->parent_fd, d->id, true);
	if (d->dir_fd < 0)
		return fail(-d->dir_fd, "making %s: %s", d->path, strerror(-d->dir_fd));
	if (flock(d->dir_fd, LOCK_EX | LOCK_NB) < 0)
		return fail(errno, "locking %s: %s", d->path, strerror(errno));
	return open_upper(d, kept, lower_fd);
}

int container_dir_new(const char *store_path, int containers_fd, int lower_fd, const char *kept, struct container_dir **ret)
{
	_cleanup_(container_dir_free) struct container_dir *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return fail(ENOMEM, "out of memory");
	d->dir_fd = d->upper_fd = d->work_fd = -1;
	/* a descriptor of our own: a lock belongs to the open file */
	d->parent_fd = openat(containers_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->parent_fd < 0 || flock(d->parent_fd, LOCK_EX) < 0)
		return fail(errno, "%s/containers: %s", store_path, strerror(errno));
	sweep(d->parent_fd);
	r = make(d, store_path, kept, lower_fd);
	flock(d->parent_fd, LOCK_UN);
	if (r < 0)
		return r;
	*ret = TAKE(d);
	return 0;
}

void container_dir_free(struct container_dir **d)
{
	if (!*d)
		return;
	fd_close(&(*d)->upper_fd);
	fd_close(&(*d)->work_fd);
	if ((*d)->dir_fd >= 0)
		fd_remove_tree((*d)->parent_fd, (*d)->id);
	fd_close(&(*d)->dir_fd);
	fd_close(&(*d)->parent_fd);
	free((*d)->path);
	fd_free_memory(d);
}

static int write_file(struct container_dir *d, const char *name, const struct bytes *b)
{
	_cleanup_(fd_close) int fd = openat(d->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	int r = fd < 0 ? -errno : fd_write_full(fd, b->data, b->size);

	if (r == 0 && fchmod(fd, 0644) < 0) /* whatever our umask is */
		r = -errno;
	return r < 0 ? fail(-r, "writing %s/%s: %s", d->path, name, strerror(-r)) : 0;
}

int container_dir_write_files(struct container_dir *d, const char *hostname, bool own_network)
{
	_cleanup_(bytes_free) struct bytes hosts = {0}, resolv = {0}, name = {0};
	int r = 0;

	/* The host's network has the host's names. */
	if (own_network || fd_read_file(AT_FDCWD, "/etc/hosts", 1 << 20, &hosts) < 0)
		r = bytes_printf(&hosts, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
					 "fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\n"
					 "ff02::2\tip6-allrouters\n");
	if (r == 0 && hosts.size > 0 && hosts.data[hosts.size - 1] != '\n')
		r = bytes_append(&hosts, "\n", 1);
	if (r == 0)
		r = bytes_printf(&hosts, "127.0.1.1\t%s\n", hostname);
	if (r == 0)
		r = bytes_printf(&name, "%s\n", hostname);
	if (r < 0)
		return fail(ENOMEM, "out of memory");
	if (!own_network) {
		int fd = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* often a link */
		ssize_t n = 0;

		while (fd >= 0 && resolv.size < (1 << 20) && bytes_reserve(&resolv, 4096) == 0 &&
		       (n = read(fd, resolv.data + resolv.size, 4096)) > 0)
			resolv.size += (size_t)n;
		fd_close(&fd);
	}
	if ((r = write_file(d, "hosts", &hosts)) < 0 || (r = write_file(d, "hostname", &name)) < 0)
		return r;
	return write_file(d, "resolv.conf", &resolv);
}
