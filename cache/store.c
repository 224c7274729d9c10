/* Opens the store and the run directory; refuses what another user could have prepared. */
#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "base/trusted_path.h"

#define STORE_VERSION "1\n"

static int default_store_path(char **ret)
{
	const char *set = getenv("LAZYRUN_STORE");
	const char *data = getenv("XDG_DATA_HOME");
	const char *home = getenv("HOME");
	int n;

	if (set && set[0])
		n = asprintf(ret, "%s", set);
	else if (geteuid() == 0)
		n = asprintf(ret, "/var/lib/lazyrun");
	else if (data && data[0] == '/')
		n = asprintf(ret, "%s/lazyrun", data);
	else if (home && home[0] == '/')
		n = asprintf(ret, "%s/.local/share/lazyrun", home);
	else
		return fail(EINVAL, "no place for the store: HOME is not set; set it, or use --store DIR");
	return n < 0 ? -ENOMEM : 0;
}

static int default_run_path(char **ret)
{
	const char *set = getenv("LAZYRUN_RUN_DIR");
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	const char *tmp = getenv("TMPDIR");
	int n;

	if (set && set[0])
		n = asprintf(ret, "%s", set);
	else if (geteuid() == 0)
		n = asprintf(ret, "/run/lazyrun");
	else if (runtime && runtime[0] == '/')
		n = asprintf(ret, "%s/lazyrun", runtime);
	else
		n = asprintf(ret, "%s/lazyrun-%u", tmp && tmp[0] == '/' ? tmp : "/tmp", geteuid());
	return n < 0 ? -ENOMEM : 0;
}

static int absolute(char **path)
{
	char *cwd, *joined;

	if ((*path)[0] == '/')
		return 0;
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return fail(errno, "the current directory is gone, and %s is relative to it", *path);
	if (asprintf(&joined, "%s/%s", cwd, *path) < 0)
		joined = NULL;
	free(cwd);
	if (!joined)
		return -ENOMEM;
	free(*path);
	*path = joined;
	return 0;
}

static int open_checked(const char *path, const char *what, const char *flag, bool make)
{
	_cleanup_(fd_close) int fd = trusted_path_open(path, what, flag, make);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return fail(errno, "the %s %s cannot be looked at: %s", what, path, strerror(errno));
	if (st.st_uid != geteuid())
		return fail(EACCES, "the %s %s belongs to user %u, not to you (%u); choose another with %s", what, path,
			    st.st_uid, geteuid(), flag);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return fail(EACCES, "the %s %s may be written by others; say chmod go-w %s", what, path, path);
	return TAKE_FD(fd);
}

static int check_version(struct store *s, bool make)
{
	_cleanup_(bytes_free) struct bytes version = {0};
	int r = fd_read_file(s->store_fd, "version", 64, &version);

	/* Empty or zeros: written right before the machine crashed. */
	if ((r == -ENOENT || (r == 0 && version.data[0] == '\0')) && make) {
		r = fd_write_file(s->store_fd, "version", STORE_VERSION, strlen(STORE_VERSION), 0600);
		if (r < 0)
			return fail(-r, "%s/version cannot be written: %s", s->store_path, strerror(-r));
		return 0;
	}
	if (r < 0)
		return fail(-r, "%s is not a store of lazyrun: its file \"version\": %s", s->store_path, strerror(-r));
	if (strcmp((const char *)version.data, STORE_VERSION) != 0)
		return fail(EOPNOTSUPP,
			    "the store %s has layout version %.*s, this lazyrun knows version 1; use --store DIR for "
			    "another, or the lazyrun that made it",
			    s->store_path, (int)strcspn((const char *)version.data, "\n"), (const char *)version.data);
	return 0;
}

static int open_parts(struct store *s, bool make)
{
	_cleanup_(fd_close) int blobs_fd = fd_open_dir(s->store_fd, "blobs", make);
	const struct {
		const char *name;
		int *fd;
	} parts[] = {
		{"layers", &s->layers_fd},
		{"tmp", &s->tmp_fd},
		{"names", &s->names_fd},
		{"containers", &s->containers_fd},
	};

	if (blobs_fd < 0)
		return fail(-blobs_fd, "%s/blobs: %s", s->store_path, strerror(-blobs_fd));
	s->blobs_fd = fd_open_dir(blobs_fd, "sha256", make);
	if (s->blobs_fd < 0)
		return fail(-s->blobs_fd, "%s/blobs/sha256: %s", s->store_path, strerror(-s->blobs_fd));
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		*parts[i].fd = fd_open_dir(s->store_fd, parts[i].name, make);
		if (*parts[i].fd < 0)
			return fail(-*parts[i].fd, "%s/%s: %s", s->store_path, parts[i].name,
				    strerror(-*parts[i].fd));
	}
	return 0;
}

int store_open(const char *store_path, const char *run_path, bool make, struct store **ret)
{
	_cleanup_(store_free) struct store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->store_fd = s->run_fd = s->blobs_fd = s->layers_fd = s->tmp_fd = s->names_fd = s->containers_fd = -1;
	s->store_path = store_path ? strdup(store_path) : NULL;
	s->run_path = run_path ? strdup(run_path) : NULL;
	r = s->store_path ? 0 : default_store_path(&s->store_path);
	if (r == 0 && !s->run_path)
		r = default_run_path(&s->run_path);
	if (r == 0)
		r = absolute(&s->store_path);
	if (r == 0)
		r = absolute(&s->run_path);
	if (r < 0)
		return r;
	s->store_fd = open_checked(s->store_path, "store", "--store DIR", make);
	if (s->store_fd < 0)
		return s->store_fd;
	s->run_fd = open_checked(s->run_path, "run directory", "--run-dir DIR", make);
	if (s->run_fd < 0)
		return s->run_fd;
	r = check_version(s, make);
	if (r < 0)
		return r;
	r = open_parts(s, make);
	if (r < 0)
		return r;
	*ret = TAKE(s);
	return 0;
}

void store_free(struct store **store)
{
	struct store *s = *store;

	if (!s)
		return;
	fd_close(&s->store_fd);
	fd_close(&s->run_fd);
	fd_close(&s->blobs_fd);
	fd_close(&s->layers_fd);
	fd_close(&s->tmp_fd);
	fd_close(&s->names_fd);
	fd_close(&s->containers_fd);
	free(s->store_path);
	free(s->run_path);
	free(s);
	*store = NULL;
}
