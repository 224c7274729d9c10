/* openat2 with the two sets of rules this project knows. */
#include "base/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_how(int dir_fd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC),
		.mode = (flags & (O_CREAT | O_TMPFILE)) ? mode : 0,
		.resolve = resolve,
	};
	long fd;

	do
		fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
	while (fd < 0 && (errno == EAGAIN || errno == EINTR)); /* EAGAIN: a rename raced; openat2(2) */
	return fd < 0 ? -errno : (int)fd;
}

int beneath_root_open(int root_fd, const char *path, int flags, mode_t mode)
{
	return open_how(root_fd, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int beneath_cache_open(int dir_fd, const char *path, int flags, mode_t mode)
{
	return open_how(dir_fd, path, flags, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

bool beneath_next_name(char *todo, char name[static NAME_MAX + 2], bool *ret_last)
{
	const char *start = todo + strspn(todo, "/"), *end = start + strcspn(start, "/");

	if (start == end)
		return false;
	snprintf(name, NAME_MAX + 2, "%.*s", (int)(end - start), start);
	*ret_last = end[strspn(end, "/")] == '\0';
	memmove(todo, end, strlen(end) + 1);
	return true;
}
