/* Every step is taken on a descriptor and never follows a link by itself, so that a rootfs or a volume
 * another container writes to cannot lead outside (CVE-2021-30465, CVE-2024-45310, CVE-2026-41579). */
#include "runtime/mount_target.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/limits.h"

/* Opened first: mkdir() of what is there asks a FUSE lower layer again, although the kernel has the answer. */
static int make_directory(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT && (mkdirat(dir_fd, name, 0755) == 0 || errno == EEXIST))
		fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int make_file(int dir_fd, const char *name)
{
	_cleanup_(fd_close) int made_fd =
		openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	int fd;

	if (made_fd < 0 && errno != EEXIST)
		return -errno;
	fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int mount_target_strict(int root_fd, const char *path)
{
	_cleanup_(fd_close) int at = -1;
	char copy[PATH_MAX], *rest = copy;

	path += strspn(path, "/");
	at = beneath_cache_open(root_fd, *path ? path : ".", O_PATH | O_DIRECTORY, 0);
	if (at != -ENOENT)
		return TAKE_FD(at);
	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
		return -ENAMETOOLONG;
	at = fcntl(root_fd, F_DUPFD_CLOEXEC, 3);
	for (char *name; at >= 0 && (name = strsep(&rest, "/"));) {
		int next;

		if (!*name || strcmp(name, ".") == 0)
			continue;
		if (strcmp(name, "..") == 0)
			return -EINVAL;
		next = make_directory(at, name);
		fd_close(&at);
		at = next == -ENOTDIR ? -ELOOP : next;
	}
	return TAKE_FD(at);
}

/* The walk of mount_target_make(): where it stands, and how it got there without links. */
struct walk {
	int root_fd, at_fd;
	char here[PATH_MAX]; /* relative to the root, no links in it, "" for the root */
	char todo[PATH_MAX]; /* what is left */
	unsigned int links;
};

static int reopen(struct walk *w)
{
	int fd = beneath_cache_open(w->root_fd, w->here[0] ? w->here : ".", O_PATH | O_DIRECTORY, 0);

	if (fd < 0)
		return fd;
	fd_close(&w->at_fd);
	w->at_fd = fd;
	return 0;
}

static int go_up(struct walk *w)
{
	char *slash = strrchr(w->here, '/');

	*(slash ? slash : w->here) = '\0';
	return reopen(w);
}

static int follow_link(struct walk *w, const char *name)
{
	char target[PATH_MAX], joined[2 * PATH_MAX];
	ssize_t n = readlinkat(w->at_fd, name, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (++w->links > LIMIT_SYMLINKS)
		return -ELOOP;
	snprintf(joined, sizeof(joined), "%s/%s", target, w->todo);
	if (snprintf(w->todo, sizeof(w->todo), "%s", joined) >= (int)sizeof(w->todo))
		return -ENAMETOOLONG;
	if (target[0] != '/')
		return 0;
	w->here[0] = '\0';
	return reopen(w);
}

static int go_down(struct walk *w, int *fd, const char *name)
{
	size_t used = strlen(w->here);

	if (snprintf(w->here + used, sizeof(w->here) - used, "%s%s", used ? "/" : "", name) >=
	    (int)(sizeof(w->here) - used))
		return -ENAMETOOLONG;
	fd_close(&w->at_fd);
	w->at_fd = TAKE_FD(*fd);
	return 0;
}

static int step(struct walk *w, const char *name, bool last, bool file)
{
	_cleanup_(fd_close) int fd = -1;
	struct stat st;

	if (strcmp(name, ".") == 0)
		return 0;
	if (strcmp(name, "..") == 0)
		return go_up(w);
	fd = openat(w->at_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		fd = last && file ? make_file(w->at_fd, name) : make_directory(w->at_fd, name);
		if (fd < 0)
			return fd;
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return follow_link(w, name);
	if (S_ISDIR(st.st_mode) ? last && file : !last || !file)
		return S_ISDIR(st.st_mode) ? -EISDIR : -ENOTDIR;
	return go_down(w, &fd, name);
}

int mount_target_make(int root_fd, const char *path, bool file)
{
	struct walk w = {.root_fd = root_fd, .at_fd = -1};
	char name[NAME_MAX + 2];
	bool last;
	int r;

	if (snprintf(w.todo, sizeof(w.todo), "%s", path) >= (int)sizeof(w.todo))
		return -ENAMETOOLONG;
	r = reopen(&w);
	while (r == 0 && beneath_next_name(w.todo, name, &last))
		r = step(&w, name, last, file);
	if (r < 0) {
		fd_close(&w.at_fd);
		return r;
	}
	return w.at_fd;
}
