/* old_kernel: preloaded, makes the kernel look older than Linux 6.9: FUSE_NOTIFY_RESEND is refused. */
#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t write(int fd, const void *data, size_t size)
{
	struct fuse_out_header h;

	if (size == sizeof(h)) {
		memcpy(&h, data, sizeof(h));
		if (h.unique == 0 && h.error == 7 && h.len == sizeof(h)) {
			errno = EINVAL;
			return -1;
		}
	}
	return syscall(SYS_write, fd, data, size);
}
