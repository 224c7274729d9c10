/* `lazyrun ls IMAGE [PATH]`: lists a directory inside an image, without ever leaving it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "cli/command_table.h"
#include "cli/image_files.h"
#include "cli/output.h"
#include "cli/worker.h"

struct listing {
	const struct image_files *files;
	bool with_long, recursive, json;
	struct json_object *rows; /* with json */
	char **waiting;		  /* directories still to list, the next one last */
	size_t n_waiting;
};

static const char *type_name(mode_t mode)
{
	return S_ISREG(mode)   ? "file"
	       : S_ISDIR(mode)  ? "directory"
	       : S_ISLNK(mode)  ? "symlink"
	       : S_ISCHR(mode)  ? "character device"
	       : S_ISBLK(mode)  ? "block device"
	       : S_ISFIFO(mode) ? "fifo"
				: "socket";
}

static void mode_text(mode_t mode, char ret[static 11])
{
	static const char bits[] = "rwxrwxrwx";

	ret[0] = S_ISREG(mode)	  ? '-'
		 : S_ISDIR(mode)  ? 'd'
		 : S_ISLNK(mode)  ? 'l'
		 : S_ISCHR(mode)  ? 'c'
		 : S_ISBLK(mode)  ? 'b'
		 : S_ISFIFO(mode) ? 'p'
				  : 's';
	for (int i = 0; i < 9; i++)
		ret[i + 1] = mode & (0400u >> i) ? bits[i] : '-';
	if (mode & S_ISUID)
		ret[3] = ret[3] == 'x' ? 's' : 'S';
	if (mode & S_ISGID)
		ret[6] = ret[6] == 'x' ? 's' : 'S';
	if (mode & S_ISVTX)
		ret[9] = ret[9] == 'x' ? 't' : 'T';
	ret[10] = '\0';
}

/* `path` is what a user would write: "/etc/passwd". */
static int print_long(const char *name, const struct stat *st, const char *target)
{
	_cleanup_(bytes_free) struct bytes line = {0};
	char mode[11], size[32], when[32] = "?";
	struct tm tm;
	int r;

	mode_text(st->st_mode, mode);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		snprintf(size, sizeof(size), "%u, %u", major(st->st_rdev), minor(st->st_rdev));
	else
		snprintf(size, sizeof(size), "%" PRIu64, (uint64_t)st->st_size);
	if (gmtime_r(&st->st_mtime, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
	r = bytes_printf(&line, "%s %3" PRIu64 " %5u %5u %10s %s %s%s%s\n", mode, (uint64_t)st->st_nlink, st->st_uid,
			 st->st_gid, size, when, name, *target ? " -> " : "", target);
	return r < 0 ? r : output_text(line.data, line.size);
}

static int add_row(struct listing *l, const char *path, const struct stat *st, const char *target)
{
	struct json_object *row = json_object_new_object();
	char mode[16];
	int r = 0;

	if (!row)
		return -ENOMEM;
	snprintf(mode, sizeof(mode), "%04o", st->st_mode & 07777);
	r |= json_object_object_add(row, "path", json_object_new_string(path));
	r |= json_object_object_add(row, "type", json_object_new_string(type_name(st->st_mode)));
	r |= json_object_object_add(row, "mode", json_object_new_string(mode));
	r |= json_object_object_add(row, "uid", json_object_new_int64(st->st_uid));
	r |= json_object_object_add(row, "gid", json_object_new_int64(st->st_gid));
	r |= json_object_object_add(row, "links", json_object_new_uint64(st->st_nlink));
	r |= json_object_object_add(row, "size", json_object_new_uint64((uint64_t)st->st_size));
	r |= json_object_object_add(row, "mtime", json_object_new_int64(st->st_mtime));
	if (S_ISLNK(st->st_mode))
		r |= json_object_object_add(row, "target", json_object_new_string(target));
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		r |= json_object_object_add(row, "major", json_object_new_int64(major(st->st_rdev)));
		r |= json_object_object_add(row, "minor", json_object_new_int64(minor(st->st_rdev)));
	}
	if (r < 0 || json_object_array_add(l->rows, row) < 0) {
		json_object_put(row);
		return -ENOMEM;
	}
	return 0;
}

/* `at_fd` and `name` find it (name "" is at_fd itself), `path` is its path in the image. */
static int show(struct listing *l, int at_fd, const char *name, const char *path, struct stat *ret_st)
{
	_cleanup_(bytes_free) struct bytes line = {0};
	char target[LIMIT_PATH_SIZE + 1] = "";
	struct stat st;
	int r;

	if (fstatat(at_fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0)
		return fail(errno, "%s: %s", path, strerror(errno));
	worker_step();
	*ret_st = st;
	if (S_ISLNK(st.st_mode)) {
		ssize_t n = readlinkat(at_fd, name, target, sizeof(target) - 1);

		if (n < 0)
			return fail(errno, "%s: %s", path, strerror(errno));
		target[n] = '\0';
	}
	if (l->json)
		return add_row(l, path, &st, target);
	if (!*name)
		name = path;
	if (l->with_long)
		return print_long(name, &st, target);
	r = bytes_printf(&line, "%s\n", name);
	return r < 0 ? r : output_text(line.data, line.size);
}

static int not_dots(const struct dirent *e)
{
	return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int push(struct listing *l, const char *path)
{
	char **grown = reallocarray(l->waiting, l->n_waiting + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	l->waiting = grown;
	grown[l->n_waiting] = strdup(path);
	if (!grown[l->n_waiting])
		return -ENOMEM;
	l->n_waiting++;
	return 0;
}

static int show_entries(struct listing *l, int dir_fd, const char *dir, struct dirent **entries, int n)
{
	_cleanup_(fd_free_memory) char *path = NULL;
	size_t first = l->n_waiting;
	int r = 0;

	for (int i = 0; r == 0 && i < n; i++) {
		struct stat st;

		fd_free_memory(&path);
		if (asprintf(&path, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, entries[i]->d_name) < 0) {
			path = NULL;
			return -ENOMEM;
		}
		r = show(l, dir_fd, entries[i]->d_name, path, &st);
		if (r == 0 && l->recursive && S_ISDIR(st.st_mode))
			r = push(l, path);
	}
	/* The first name is listed first, so it goes on top. */
	for (size_t a = first, b = l->n_waiting; r == 0 && a + 1 < b; a++, b--) {
		char *swap = l->waiting[a];

		l->waiting[a] = l->waiting[b - 1];
		l->waiting[b - 1] = swap;
	}
	return r;
}

static int list_directory(struct listing *l, int dir_fd, const char *dir)
{
	struct dirent **entries = NULL;
	int r, n = scandirat(dir_fd, ".", &entries, not_dots, by_name);

	if (n < 0)
		return fail(errno, "%s: %s", dir, strerror(errno));
	r = show_entries(l, dir_fd, dir, entries, n);
	for (int i = 0; i < n; i++)
		free(entries[i]);
	free(entries);
	return r;
}

/* -R: one after the other, however deep the tree is. */
static int list_waiting(struct listing *l)
{
	int r = 0;

	while (r == 0 && l->n_waiting > 0) {
		_cleanup_(fd_free_memory) char *dir = l->waiting[--l->n_waiting];
		_cleanup_(fd_close) int fd =
			beneath_root_open(l->files->root_fd, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

		if (fd < 0)
			return fail(-fd, "%s: %s", dir, strerror(-fd));
		if (!l->json) {
			r = output_raw("\n", 1);
			if (r == 0)
				r = output_string(dir);
			if (r == 0)
				r = output_raw(":\n", 2);
		}
		if (r == 0)
			r = list_directory(l, fd, dir);
	}
	return r;
}

static int list(struct listing *l, const char *path)
{
	_cleanup_(fd_close) int fd = beneath_root_open(l->files->root_fd, path, O_PATH, 0);
	_cleanup_(fd_free_memory) char *absolute = NULL;
	struct stat st;
	size_t size;
	int r;

	if (fd == -ENOENT) /* a symlink that leads nowhere is still there to be listed */
		fd = beneath_root_open(l->files->root_fd, path, O_PATH | O_NOFOLLOW, 0);
	if (fd < 0)
		return fail(-fd, "%s: %s", path, strerror(-fd));
	if (fstat(fd, &st) < 0)
		return fail(errno, "%s: %s", path, strerror(errno));
	path += strspn(path, "/");
	if (asprintf(&absolute, "/%s", path) < 0) {
		absolute = NULL;
		return -ENOMEM;
	}
	size = strlen(absolute);
	while (size > 1 && absolute[size - 1] == '/')
		absolute[--size] = '\0';
	if (!S_ISDIR(st.st_mode))
		return show(l, fd, "", absolute, &st);
	fd_close(&fd);
	fd = beneath_root_open(l->files->root_fd, absolute, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fail(-fd, "%s: %s", absolute, strerror(-fd));
	r = list_directory(l, fd, absolute);
	return r < 0 ? r : list_waiting(l);
}

static void listing_free(struct listing *l)
{
	while (l->n_waiting > 0)
		free(l->waiting[--l->n_waiting]);
	free(l->waiting);
	json_object_put(l->rows);
}

int cmd_ls(int argc, char **argv)
{
	_cleanup_(image_files_close) struct image_files f = {.root_fd = -1};
	_cleanup_(listing_free) struct listing l = {.files = &f};
	struct ensure_options options = {0};
	struct option_spec specs[ENSURE_N_OPTIONS + 4] = {
		{"long", 'l', OPTION_FLAG, &l.with_long, NULL, "mode, links, owner, size and time (UTC) too"},
		{"recursive", 'R', OPTION_FLAG, &l.recursive, NULL, "directories below too"},
		{"json", 0, OPTION_FLAG, &l.json, NULL, "a JSON array with all attributes"},
	};
	const struct option_rules rules = {.command = "ls", .specs = specs, .min_operands = 1, .max_operands = 2};
	struct options_result o;
	int r;

	ensure_option_specs(&options, specs + 3);
	r = command_options(&rules, argc, argv, &o);
	if (r != 0)
		return r < 0 ? r : 0;
	options.image = o.operands[0];
	if (l.json && !(l.rows = json_object_new_array()))
		return -ENOMEM;
	r = image_files_open(&options, &f);
	if (r != 0)
		return r < 0 ? r : f.exit_code;
	r = list(&l, o.n_operands > 1 ? o.operands[1] : "/");
	if (r == 0 && l.json)
		r = output_json(l.rows);
	return r;
}
