/* A walk by descriptors, so that what was checked is what is used. */
#include "base/trusted_path.h"

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
#include "base/report.h"

struct walk {
	const char *path, *what, *flag; /* for messages */
	bool make;
	int fd;			  /* where it stands */
	bool sticky;		  /* others may write there, but not touch what is not theirs */
	char todo[PATH_MAX];	  /* what is left */
	unsigned int links;
};

/* In a user namespace every owner without a number shows as this one, root of the host too. */
static bool is_nobody_here(uid_t uid)
{
	_cleanup_(fd_close) int fd = uid == 65534 ? open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC) : -1;
	unsigned int inside, outside, count;
	char map[256];
	ssize_t n = fd < 0 ? 0 : read(fd, map, sizeof(map) - 1);

	if (n <= 0)
		return false;
	map[n] = '\0';
	return sscanf(map, "%u %u %u", &inside, &outside, &count) == 3 && count != UINT_MAX;
}

static bool is_trusted(uid_t uid)
{
	return uid == 0 || uid == geteuid() || is_nobody_here(uid);
}

/* A group of the same number as its user has no other member, where users get such groups at all. */
static bool others_write(const struct stat *st)
{
	return (st->st_mode & S_IWOTH) || ((st->st_mode & S_IWGRP) && st->st_gid != st->st_uid);
}

static int refuse(const struct walk *w, const struct stat *st, const char *name)
{
	if (!is_trusted(st->st_uid))
		return fail(EACCES, "the %s %s: \"%s\" on the way belongs to user %u, who could exchange what is below; "
				    "choose another place with %s", w->what, w->path, name, st->st_uid, w->flag);
	return fail(EACCES, "the %s %s: others may write in \"%s\" on the way, and could exchange what is below; say chmod "
			    "go-w there, or choose another place with %s", w->what, w->path, name, w->flag);
}

/* Takes a step to `fd`, which is `name` where we stand. */
static int enter(struct walk *w, int *fd, const char *name)
{
	struct stat st;

	if (fstat(*fd, &st) < 0)
		return -errno;
	w->sticky = others_write(&st) && (st.st_mode & S_ISVTX);
	if (!is_trusted(st.st_uid) || (others_write(&st) && !w->sticky))
		return refuse(w, &st, name);
	fd_close(&w->fd);
	w->fd = TAKE_FD(*fd);
	return 0;
}

static int go_to_root(struct walk *w)
{
	_cleanup_(fd_close) int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : enter(w, &fd, "/");
}

static int follow(struct walk *w, const char *name, const struct stat *st)
{
	char target[PATH_MAX], joined[2 * PATH_MAX];
	ssize_t n = readlinkat(w->fd, name, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	if (w->sticky && !is_trusted(st->st_uid))
		return refuse(w, st, name);
	if (++w->links > LIMIT_SYMLINKS)
		return -ELOOP;
	target[n] = '\0';
	snprintf(joined, sizeof(joined), "%s/%s", target, w->todo);
	if (snprintf(w->todo, sizeof(w->todo), "%s", joined) >= (int)sizeof(w->todo))
		return -ENAMETOOLONG;
	return target[0] == '/' ? go_to_root(w) : 0;
}

static int open_entry(const struct walk *w, const char *name, bool last)
{
	int fd = openat(w->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT && w->make) {
		if (mkdirat(w->fd, name, last ? 0700 : 0755) < 0 && errno != EEXIST)
			return fail(errno, "the %s %s: \"%s\" cannot be made: %s", w->what, w->path, name, strerror(errno));
		fd = openat(w->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	}
	return fd < 0 ? -errno : fd;
}

static int step(struct walk *w, const char *name, bool last)
{
	_cleanup_(fd_close) int fd = open_entry(w, name, last);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return last ? fail(ELOOP, "the %s %s is a symbolic link; name the directory itself with %s", w->what, w->path,
				   w->flag)
			    : follow(w, name, &st);
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (!last)
		return enter(w, &fd, name);
	fd_close(&w->fd);
	w->fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return w->fd < 0 ? -errno : 0;
}

int trusted_path_open(const char *path, const char *what, const char *flag, bool make)
{
	struct walk w = {.path = path, .what = what, .flag = flag, .make = make, .fd = -1};
	char name[NAME_MAX + 2];
	bool last;
	int r;

	if (snprintf(w.todo, sizeof(w.todo), "%s", path) >= (int)sizeof(w.todo))
		return fail(ENAMETOOLONG, "the %s %s: the path is too long", what, path);
	r = go_to_root(&w);
	while (r == 0 && beneath_next_name(w.todo, name, &last))
		r = step(&w, name, last);
	if (r == 0)
		return w.fd;
	fd_close(&w.fd);
	if (r == -ENOENT || report_any())
		return r;
	return fail(-r, "the %s %s cannot be opened: %s", what, path, strerror(-r));
}
