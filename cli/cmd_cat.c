/* `lazyrun cat IMAGE PATH...`: writes files inside an image to standard output. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/report.h"
#include "cli/command_table.h"
#include "cli/image_files.h"
#include "cli/output.h"
#include "cli/worker.h"

#define COPY_SIZE (128u << 10)

static const char *what_it_is(mode_t mode)
{
	return S_ISDIR(mode)   ? "a directory; `lazyrun ls` lists it"
	       : S_ISFIFO(mode) ? "a FIFO, which has no content"
	       : S_ISCHR(mode)  ? "a character device, which is not opened outside of a container"
	       : S_ISBLK(mode)  ? "a block device, which is not opened outside of a container"
	       : S_ISSOCK(mode) ? "a socket, which has no content"
				: "no regular file";
}

/* First without opening what is there: open(2) of a FIFO waits, of a device acts. The tree never changes, so
 * the second look finds the same file. */
static int open_regular(const struct image_files *f, const char *path, int *ret)
{
	_cleanup_(fd_close) int fd = beneath_root_open(f->root_fd, path, O_PATH, 0);
	struct stat st;

	if (fd < 0)
		return fail(-fd, "%s: %s", path, strerror(-fd));
	if (fstat(fd, &st) < 0)
		return fail(errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(EINVAL, "%s is %s", path, what_it_is(st.st_mode));
	fd_close(&fd);
	fd = beneath_root_open(f->root_fd, path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0);
	if (fd < 0)
		return fail(-fd, "%s: %s", path, strerror(-fd));
	*ret = TAKE_FD(fd);
	return 0;
}

static int cat_one(const struct image_files *f, const char *path, char *buffer)
{
	_cleanup_(fd_close) int fd = -1;
	int r = open_regular(f, path, &fd);

	while (r == 0) {
		ssize_t n = read(fd, buffer, COPY_SIZE);

		if (n == 0)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(errno, "%s cannot be read: %s; the server's log says why (`lazyrun status` names "
					   "it)", path, strerror(errno));
		worker_step();
		r = output_raw(buffer, (size_t)n);
	}
	return r;
}

int cmd_cat(int argc, char **argv)
{
	_cleanup_(image_files_close) struct image_files f = {.root_fd = -1};
	_cleanup_(fd_free_memory) char *buffer = malloc(COPY_SIZE);
	struct ensure_options options = {0};
	struct option_spec specs[ENSURE_N_OPTIONS + 1] = {0};
	const struct option_rules rules = {.command = "cat", .specs = specs, .min_operands = 2, .max_operands = -1};
	struct options_result o;
	int r, failed = 0;

	if (!buffer)
		return -ENOMEM;
	ensure_option_specs(&options, specs);
	r = command_options(&rules, argc, argv, &o);
	if (r != 0)
		return r < 0 ? r : 0;
	options.image = o.operands[0];
	r = image_files_open(&options, &f);
	if (r != 0)
		return r < 0 ? r : f.exit_code;
	/* As cat(1): the others are still written. */
	for (int i = 1; i < o.n_operands; i++) {
		r = cat_one(&f, o.operands[i], buffer);
		if (r < 0)
			failed = r;
	}
	return failed;
}
