/* Three descriptors and a byte. */
#include "fs/ready.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"

#define LOG_SIZE_MAX (4 << 20)

static int open_log(const struct store *store)
{
	_cleanup_(fd_close) int log_fd = -1, null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int run_fd = store->run_fd;
	struct stat st;

	if (fstatat(run_fd, "log", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > LOG_SIZE_MAX)
		renameat(run_fd, "log", run_fd, "log.old");
	log_fd = openat(run_fd, "log", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (log_fd < 0 || null_fd < 0)
		return fail(errno, "%s/log cannot be opened: %s", store->run_path, strerror(errno));
	if (dup2(null_fd, STDIN_FILENO) < 0 || dup2(log_fd, STDOUT_FILENO) < 0 || dup2(log_fd, STDERR_FILENO) < 0)
		return fail(errno, "dup2: %s", strerror(errno));
	return 0;
}

/* The socket listens, so a command may connect; the mount's first users wait for the server. */
int ready_say(const struct store *store, int ready_fd)
{
	char ready = READY_BYTE;
	int r;

	if (ready_fd < 0)
		return 0;
	r = open_log(store);
	if (r < 0)
		return r;
	if (write(ready_fd, &ready, 1) != 1)
		report_note("the starter has gone away");
	close(ready_fd);
	return 0;
}
