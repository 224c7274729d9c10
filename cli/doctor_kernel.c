/* Kernel features, by what the running kernel shows of itself. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/magic.h>

#include "base/fd.h"
#include "base/sandbox.h"
#include "cli/doctor.h"
#include "cli/human.h"

static bool at_least(unsigned int major, unsigned int minor)
{
	unsigned int a = 0, b = 0;
	struct utsname u;

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &a, &b) != 2)
		return false;
	return a > major || (a == major && b >= minor);
}

static void check_version(struct doctor_report *r)
{
	struct utsname u;

	if (uname(&u) < 0)
		return;
	if (!at_least(5, 12)) {
		doctor_add(r, "kernel", DOCTOR_BAD, "Linux %s: openat2, mount_setattr and overlayfs for users need 5.12",
			   u.release);
		doctor_remedy(r, "install a newer kernel");
		return;
	}
	doctor_add(r, "kernel", DOCTOR_OK, "Linux %s", u.release);
	if (at_least(6, 9)) {
		doctor_add(r, "fuse resend", DOCTOR_OK, "containers survive a crash of the server");
	} else {
		doctor_add(r, "fuse resend", DOCTOR_WARN, "a crash of the server ends its mount, and with it what runs there");
		doctor_remedy(r, "Linux 6.9 or newer (FUSE_NOTIFY_RESEND)");
	}
	if (at_least(6, 12)) {
		doctor_add(r, "erofs files", DOCTOR_OK, "EROFS mounts from files");
	} else {
		doctor_add(r, "erofs files", DOCTOR_WARN, "no EROFS mounts from files: root too uses FUSE");
		doctor_remedy(r, "Linux 6.12 or newer");
	}
}

static void check_file_system(struct doctor_report *r, const char *name, enum doctor_level missing)
{
	_cleanup_(fd_free_memory) char *line = NULL;
	FILE *f = fopen("/proc/filesystems", "re");
	size_t capacity = 0;
	bool found = false;

	while (f && !found && getline(&line, &capacity, f) > 0) {
		char *type = strrchr(line, '\t');

		type = type ? type + 1 : line;
		type[strcspn(type, "\n")] = '\0';
		found = strcmp(type, name) == 0;
	}
	if (f)
		fclose(f);
	if (found) {
		doctor_add(r, name, DOCTOR_OK, "the kernel has the file system %s", name);
		return;
	}
	doctor_add(r, name, missing, "the kernel does not have the file system %s, or its module is not loaded", name);
	doctor_remedy(r, "modprobe %s; and its name in /etc/modules-load.d/lazyrun.conf for the next boot", name);
}

static void check_dev_fuse(struct doctor_report *r)
{
	_cleanup_(fd_close) int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	int err = errno;
	struct stat st;

	if (fd >= 0) {
		doctor_add(r, "/dev/fuse", DOCTOR_OK, "can be opened");
		return;
	}
	if (stat("/dev/fuse", &st) < 0) {
		doctor_add(r, "/dev/fuse", DOCTOR_BAD, "is not there (%s)", strerror(errno));
		doctor_remedy(r, "modprobe fuse; in a container: start it with --device /dev/fuse");
		return;
	}
	doctor_add(r, "/dev/fuse", DOCTOR_BAD, "cannot be opened (%s); its mode is %04o", strerror(err),
		   st.st_mode & 07777);
	doctor_remedy(r, "chmod 0666 /dev/fuse, or a udev rule: KERNEL==\"fuse\", MODE=\"0666\"");
}

static void check_uring(struct doctor_report *r)
{
	char fuse[16], disabled[16];

	if (!doctor_read_line("/sys/module/fuse/parameters/enable_uring", fuse, sizeof(fuse))) {
		doctor_add(r, "fuse io_uring", DOCTOR_WARN, "this kernel does not have it: the classic channel is used");
		doctor_remedy(r, "Linux 6.14 or newer with CONFIG_FUSE_IO_URING");
		return;
	}
	if (doctor_read_line("/proc/sys/kernel/io_uring_disabled", disabled, sizeof(disabled)) &&
	    strcmp(disabled, "0") != 0 && (strcmp(disabled, "2") == 0 || geteuid() != 0)) {
		doctor_add(r, "fuse io_uring", DOCTOR_WARN, "io_uring is disabled: kernel.io_uring_disabled = %s", disabled);
		doctor_remedy(r, "sysctl -w kernel.io_uring_disabled=0");
		return;
	}
	if (fuse[0] == 'Y' || fuse[0] == '1') {
		doctor_add(r, "fuse io_uring", DOCTOR_OK, "enabled");
		return;
	}
	doctor_add(r, "fuse io_uring", DOCTOR_WARN, "the kernel has it, but it is switched off");
	doctor_remedy(r, "echo Y > /sys/module/fuse/parameters/enable_uring; for each boot: options fuse "
			 "enable_uring=1 in /etc/modprobe.d/fuse.conf, or fuse.enable_uring=1 to the kernel");
}

/* Where we are below /sys/fs/cgroup, from the line "0::/path" of /proc/self/cgroup. */
static bool own_cgroup(char ret[static 512])
{
	_cleanup_(fd_free_memory) char *line = NULL;
	FILE *f = fopen("/proc/self/cgroup", "re");
	size_t capacity = 0;
	bool found = false;

	while (f && !found && getline(&line, &capacity, f) > 0) {
		if (strncmp(line, "0::", 3) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		found = snprintf(ret, 512, "/sys/fs/cgroup%s", line + 3) < 512;
	}
	if (f)
		fclose(f);
	return found;
}

static void check_cgroup(struct doctor_report *r)
{
	char path[512], controllers[128] = "";
	char file[600];
	struct statfs fs;

	if (statfs("/sys/fs/cgroup", &fs) < 0) {
		doctor_add(r, "cgroup", DOCTOR_WARN, "/sys/fs/cgroup: %s: containers get no cgroup of their own",
			   strerror(errno));
		doctor_remedy(r, "mount -t cgroup2 none /sys/fs/cgroup");
		return;
	}
	if ((unsigned long)fs.f_type != CGROUP2_SUPER_MAGIC) {
		doctor_add(r, "cgroup", geteuid() == 0 ? DOCTOR_OK : DOCTOR_WARN,
			   geteuid() == 0 ? "version 1 (or both)"
					  : "version 1 (or both), which users cannot have a part of: no cgroup of their own");
		if (geteuid() != 0)
			doctor_remedy(r, "systemd.unified_cgroup_hierarchy=1 to the kernel");
		return;
	}
	if (!own_cgroup(path)) {
		doctor_add(r, "cgroup", DOCTOR_WARN, "version 2, but our own cgroup is not known");
		return;
	}
	snprintf(file, sizeof(file), "%s/cgroup.controllers", path);
	(void)doctor_read_line(file, controllers, sizeof(controllers));
	if (access(path, W_OK) == 0) {
		doctor_add(r, "cgroup", DOCTOR_OK, "version 2, ours to use (%s)", *controllers ? controllers : "no controllers");
		return;
	}
	doctor_add(r, "cgroup", DOCTOR_WARN, "version 2, but %.150s is not delegated to you", path);
	doctor_remedy(r, "log in through systemd (loginctl enable-linger), or systemd-run --user --scope -p Delegate=yes");
}

static void check_seccomp(struct doctor_report *r)
{
	char actions[256];

	if (doctor_read_line("/proc/sys/kernel/seccomp/actions_avail", actions, sizeof(actions))) {
		doctor_add(r, "seccomp", DOCTOR_OK, "filters are there");
		return;
	}
	doctor_add(r, "seccomp", DOCTOR_BAD, "the kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)");
	doctor_remedy(r, "a kernel with it; or run with --security-opt seccomp=unconfined and know why");
}

static void check_limits(struct doctor_report *r)
{
	struct rlimit files = {0}, memory = {0};
	char memlock[HUMAN_SIZE] = "any";

	getrlimit(RLIMIT_NOFILE, &files);
	getrlimit(RLIMIT_MEMLOCK, &memory);
	if (memory.rlim_cur != RLIM_INFINITY)
		human_bytes(memory.rlim_cur, memlock);
	if (files.rlim_max < 4096) {
		doctor_add(r, "limits", DOCTOR_WARN, "at most %llu open files: images of many layers need more",
			   (unsigned long long)files.rlim_max);
		doctor_remedy(r, "raise nofile in /etc/security/limits.conf to 65536");
		return;
	}
	doctor_add(r, "limits", DOCTOR_OK, "%llu open files (%llu at most), %s locked memory",
		   (unsigned long long)files.rlim_cur, (unsigned long long)files.rlim_max, memlock);
}

static void check_landlock(struct doctor_report *r)
{
	int version = sandbox_landlock_version();

	if (version > 0) {
		doctor_add(r, "landlock", DOCTOR_OK, "version %d: the fetcher writes in store and run directory only", version);
		return;
	}
	doctor_add(r, "landlock", DOCTOR_WARN, "this kernel has none, or it is off: the fetcher can open what its user can");
	doctor_remedy(r, "Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK, and landlock in the boot parameter lsm=");
}

void doctor_kernel(struct doctor_report *r)
{
	check_version(r);
	check_file_system(r, "overlay", DOCTOR_BAD);
	check_file_system(r, "fuse", DOCTOR_BAD);
	if (geteuid() == 0)
		check_file_system(r, "erofs", DOCTOR_WARN);
	check_dev_fuse(r);
	check_uring(r);
	check_cgroup(r);
	check_seccomp(r);
	check_landlock(r);
	check_limits(r);
}
