/* A directory for each image, in it a file for each command. */
#include "cache/profiles.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"

static int open_image(const struct store *s, const struct digest *manifest, bool make)
{
	_cleanup_(fd_close) int all_fd = fd_open_dir(s->store_fd, PROFILES_DIRECTORY, make);
	char name[DIGEST_HEX_MAX + 1];

	return all_fd < 0 ? all_fd : fd_open_dir(all_fd, digest_hex(manifest, name), make);
}

void profiles_command(const char *command, struct digest *ret)
{
	hash_bytes(command, strlen(command), ret);
}

static int read_file(int dir_fd, const char *name, struct profile **ret)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	int r = fd_read_file(dir_fd, name, PROFILE_SIZE_MAX, &b);

	return r < 0 ? r : profile_parse(b.data, b.size, ret);
}

int profiles_get(const struct store *s, const struct digest *manifest, const struct digest *command, struct profile **ret)
{
	_cleanup_(fd_close) int dir_fd = open_image(s, manifest, false);
	char name[DIGEST_HEX_MAX + 1];
	int r;

	if (dir_fd < 0)
		return dir_fd;
	r = read_file(dir_fd, digest_hex(command, name), ret);
	return r == -EBADMSG || r == -EFBIG || r == -EINVAL || r == -ELOOP ? -ENOENT : r;
}

/* Makes room for one more. */
static void remove_oldest(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	char oldest[256] = "";
	struct timespec when = {0};
	unsigned int n = 0;
	struct dirent *d;

	if (!dir) {
		fd_close(&fd);
		return;
	}
	while ((d = readdir(dir))) {
		struct stat st;

		if (d->d_name[0] == '.' || fstatat(dir_fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (n++ > 0 && (st.st_mtim.tv_sec > when.tv_sec ||
				(st.st_mtim.tv_sec == when.tv_sec && st.st_mtim.tv_nsec >= when.tv_nsec)))
			continue;
		when = st.st_mtim;
		snprintf(oldest, sizeof(oldest), "%s", d->d_name);
	}
	closedir(dir);
	if (n >= LIMIT_PROFILES)
		fd_remove_tree(dir_fd, oldest);
}

int profiles_put(const struct store *s, const struct digest *manifest, const struct digest *command,
		 const struct profile *p)
{
	_cleanup_(fd_close) int dir_fd = open_image(s, manifest, true);
	_cleanup_(bytes_free) struct bytes b = {0};
	char name[DIGEST_HEX_MAX + 1];
	int r = dir_fd < 0 ? dir_fd : profile_write(p, &b);

	if (r < 0)
		return r;
	digest_hex(command, name);
	if (faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		remove_oldest(dir_fd);
	return fd_write_file(dir_fd, name, b.data, b.size, 0600);
}

static int by_bytes(const void *a, const void *b)
{
	const struct digest *x = a, *y = b;

	return memcmp(x->bytes, y->bytes, sizeof(x->bytes));
}

int profiles_list(const struct store *s, const struct digest *manifest, struct digest ret[static LIMIT_PROFILES],
		  size_t *ret_n)
{
	int fd = open_image(s, manifest, false);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;
	size_t n = 0;

	*ret_n = 0;
	if (!dir) {
		fd_close(&fd);
		return 0;
	}
	while (n < LIMIT_PROFILES && (d = readdir(dir))) {
		char text[DIGEST_TEXT_MAX + 16];
		int size = snprintf(text, sizeof(text), "sha256:%.130s", d->d_name);

		n += digest_parse(text, (size_t)size, &ret[n]) == 0;
	}
	closedir(dir);
	qsort(ret, n, sizeof(*ret), by_bytes);
	*ret_n = n;
	return 0;
}

int profiles_remove(const struct store *s, const struct digest *manifest)
{
	_cleanup_(fd_close) int all_fd = fd_open_dir(s->store_fd, PROFILES_DIRECTORY, false);
	char name[DIGEST_HEX_MAX + 1];

	if (all_fd < 0)
		return all_fd == -ENOENT ? 0 : all_fd;
	return fd_remove_tree(all_fd, digest_hex(manifest, name));
}

int profiles_check(int dir_fd, const char *name)
{
	_cleanup_(profile_free) struct profile *p = NULL;
	int r = read_file(dir_fd, name, &p);

	return r == -ENOENT || r == -ENOMEM || r == 0 ? r : -EBADMSG;
}
