/* clone3 has no wrapper in glibc 2.36. */
#include "runtime/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"

#define LATER ((uint64_t)(CLONE_NEWNS | CLONE_NEWCGROUP))

pid_t namespaces_clone(uint64_t namespaces, int cgroup_fd, int *ret_pidfd)
{
	struct clone_args args = {
		.flags = (namespaces & ~LATER) | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)ret_pidfd,
		.exit_signal = SIGCHLD,
	};
	long pid;

	if (cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup_fd;
	}
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0 && cgroup_fd >= 0 && (errno == EACCES || errno == EBUSY || errno == EOPNOTSUPP)) {
		args.flags &= ~(uint64_t)CLONE_INTO_CGROUP; /* not ours to join: go without */
		pid = syscall(SYS_clone3, &args, sizeof(args));
	}
	if (pid < 0)
		return fail(errno, "making the container's namespaces: %s%s", strerror(errno),
			    errno == EPERM ? "; \"lazyrun doctor\" says what forbids it" : "");
	return (pid_t)pid;
}

int namespaces_enter(uint64_t namespaces)
{
	if ((namespaces & LATER) && unshare((int)(namespaces & LATER)) < 0)
		return fail(errno, "making the mount and cgroup namespace: %s", strerror(errno));
	return 0;
}

int namespaces_own_network(uint64_t namespaces)
{
	struct ifreq lo = {.ifr_name = "lo"};
	_cleanup_(fd_close) int fd = -1;

	if (!(namespaces & CLONE_NEWNET))
		return 0;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	lo.ifr_flags = IFF_UP;
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
		return fail(errno, "bringing up lo: %s", strerror(errno));
	return 0;
}

bool namespaces_in_user(void)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	unsigned int inside, outside, count;

	if (fd_read_file(AT_FDCWD, "/proc/self/uid_map", 64 << 10, &b) < 0)
		return false;
	return sscanf((const char *)b.data, "%u %u %u", &inside, &outside, &count) != 3 || outside != 0 ||
	       count != UINT32_MAX;
}

bool namespaces_map_gid(uint32_t gid)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	unsigned int inside, outside, count;
	int used;

	if (fd_read_file(AT_FDCWD, "/proc/self/gid_map", 64 << 10, &b) < 0)
		return false;
	for (const char *at = (const char *)b.data; sscanf(at, "%u %u %u%n", &inside, &outside, &count, &used) == 3;
	     at += used)
		if (gid >= inside && gid - inside < count)
			return true;
	return false;
}
