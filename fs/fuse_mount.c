/* Opens /dev/fuse and mounts it, without fusermount3. */
#include "fs/fuse_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"

#define READ_MAX 32768 /* a reader waits for the whole of its READ: KERNEL.md K */
#define DEAD_MOUNTS_MAX 16

/* By descriptor: the run directory is the one that was checked. */
static void mount_path(const struct store *s, char path[static PATH_MAX])
{
	snprintf(path, PATH_MAX, "/proc/self/fd/%d/" FUSE_MOUNT_NAME, s->run_fd);
}

/* Unmounting waits for a notice that a killed server was giving, which waits for a page whose reader waits for an answer
 * that no server gives any more: ending the connection ends them all. umount2(MNT_FORCE) would too, but for the host's
 * root alone. */
static void end_connection(const char *path)
{
	_cleanup_(fd_close) int fd = -1;
	char abort_path[64];
	struct statx st;

	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st) < 0 || st.stx_dev_major != 0 ||
	    !(st.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return;
	snprintf(abort_path, sizeof(abort_path), "/sys/fs/fuse/connections/%u/abort", st.stx_dev_minor);
	fd = open(abort_path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1", 1) < 0)
		(void)umount2(path, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW);
}

void fuse_mount_remove(const struct store *s)
{
	char path[PATH_MAX];

	mount_path(s, path);
	end_connection(path);
	for (int i = 0; i < DEAD_MOUNTS_MAX; i++)
		if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			return; /* EINVAL: nothing is mounted there */
}

int fuse_mount_make(const struct store *s, int *ret_dev_fd)
{
	_cleanup_(fd_close) int dev_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char path[PATH_MAX], options[256];

	if (dev_fd < 0)
		return fail(errno,
			    "/dev/fuse cannot be opened (%s): load the kernel module fuse, and see that you may write "
			    "to /dev/fuse",
			    strerror(errno));
	fuse_mount_remove(s);
	if (mkdirat(s->run_fd, FUSE_MOUNT_NAME, 0700) < 0 && errno != EEXIST)
		return fail(errno, "%s/" FUSE_MOUNT_NAME " cannot be made: %s", s->run_path, strerror(errno));
	mount_path(s, path);
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=%u,group_id=%u,allow_other,default_permissions,max_read=%d", dev_fd,
		 geteuid(), getegid(), READ_MAX);
	if (mount("lazyrun", path, "fuse.lazyrun", MS_NOSUID | MS_NODEV | MS_RDONLY, options) < 0)
		return fail(errno, "FUSE cannot be mounted at %s/" FUSE_MOUNT_NAME ": %s", s->run_path,
			    strerror(errno));
	*ret_dev_fd = TAKE_FD(dev_fd);
	return 0;
}
