/* One pass over layers/ and tmp/; what goes is renamed into tmp/ as "old-...", where the fetcher removes it. */
#include "cache/boot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/bytes.h"
#include "base/fd.h"
#include "base/report.h"
#include "cache/have_map.h"
#include "cache/have_synced.h"
#include "cache/number_table.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_MAX 64u

static int read_id(struct bytes *ret)
{
	return fd_read_file(AT_FDCWD, BOOT_ID, BOOT_ID_MAX, ret);
}

bool boot_is_new(const struct store *s)
{
	_cleanup_(bytes_free) struct bytes now = {0}, last = {0};

	return read_id(&now) < 0 || fd_read_file(s->store_fd, "boot", BOOT_ID_MAX, &last) < 0 || now.size == 0 ||
	       now.size != last.size || memcmp(now.data, last.data, now.size) != 0;
}

/* The have-map becomes what have.synced says. */
static int keep_synced(const struct store *s, const char *key)
{
	_cleanup_(fd_close) int dir_fd = beneath_cache_open(s->layers_fd, key, O_RDONLY | O_DIRECTORY, 0);
	_cleanup_(have_synced_free) struct have_synced *h = NULL;
	int r = dir_fd < 0 ? dir_fd : have_synced_read(dir_fd, &h);

	return r < 0 ? r : have_map_create_words(dir_fd, "have", h->n_pages, h->words);
}

static int drop(const struct store *s, const char *key)
{
	char aside[LAYER_KEY_SIZE + 8];
	int r;

	snprintf(aside, sizeof(aside), "old-%s", key);
	r = fd_remove_tree(s->tmp_fd, aside);
	if (r == 0 && renameat(s->layers_fd, key, s->tmp_fd, aside) < 0)
		r = -errno;
	return r < 0 ? fail(-r, "%s/layers/%s may be torn since the machine was restarted, and cannot be removed: %s",
			    s->store_path, key, strerror(-r)) : 0;
}

static int recover_layers(const struct store *s)
{
	int fd = openat(s->layers_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir) {
		r = fail(errno, "%s/layers cannot be read: %s", s->store_path, strerror(errno));
		fd_close(&fd);
		return r;
	}
	while (r == 0 && (d = readdir(dir)))
		if (d->d_name[0] != '.' && strlen(d->d_name) < LAYER_KEY_SIZE && keep_synced(s, d->d_name) < 0)
			r = drop(s, d->d_name);
	closedir(dir);
	return r;
}

/* Packed bytes on their way may have holes where bytes were. */
static void remove_parts(const struct store *s)
{
	int fd = openat(s->tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir)
		fd_close(&fd);
	while (dir && (d = readdir(dir))) {
		size_t size = strlen(d->d_name);

		if (size > 5 && strcmp(d->d_name + size - 5, ".part") == 0)
			unlinkat(s->tmp_fd, d->d_name, 0);
	}
	if (dir)
		closedir(dir);
}

int boot_recover(const struct store *s)
{
	_cleanup_(bytes_free) struct bytes now = {0};
	int r = recover_layers(s);

	if (r < 0)
		return r;
	remove_parts(s);
	r = read_id(&now);
	if (r == 0)
		r = fd_write_file(s->store_fd, "boot", now.data, now.size, 0600);
	/* Not fatal: the next start looks once more, and drops more than it must. */
	if (r < 0)
		report_note("%s/boot cannot be written: %s", s->store_path, strerror(-r));
	return 0;
}
