/* What an ordinary user needs; the namespaces are really tried, in a child that leaves nothing behind. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/doctor.h"

/* How many ids /etc/subuid or /etc/subgid gives to this user, by name or number; subuid(5). */
static uint64_t count_ids(const char *path, const char *user, uid_t uid)
{
	_cleanup_(fd_free_memory) char *line = NULL;
	FILE *f = fopen(path, "re");
	size_t capacity = 0;
	uint64_t sum = 0;

	while (f && getline(&line, &capacity, f) > 0) {
		char *first = strchr(line, ':'), *count = first ? strchr(first + 1, ':') : NULL;
		char number[16];

		if (!count)
			continue;
		*first = '\0';
		snprintf(number, sizeof(number), "%u", uid);
		if (strcmp(line, user) == 0 || strcmp(line, number) == 0)
			sum += strtoull(count + 1, NULL, 10);
	}
	if (f)
		fclose(f);
	return sum;
}

static void check_ranges(struct doctor_report *r, const char *user)
{
	uint64_t uids = count_ids("/etc/subuid", user, getuid()), gids = count_ids("/etc/subgid", user, getuid());

	if (uids >= 65536 && gids >= 65536) {
		doctor_add(r, "id ranges", DOCTOR_OK, "%llu user and %llu group ids for %s", (unsigned long long)uids,
			   (unsigned long long)gids, user);
		return;
	}
	doctor_add(r, "id ranges", DOCTOR_WARN,
		   "%s has %llu user and %llu group ids, 65536 of each are usual: %s", user, (unsigned long long)uids,
		   (unsigned long long)gids,
		   uids && gids ? "files of higher owners show as nobody's" : "all files of images show as root's");
	doctor_remedy(r, "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s (take numbers that "
			 "are free in /etc/subuid), then `lazyrun stop-server`", user);
}

static bool find_in_path(const char *name, char *ret, size_t size)
{
	const char *path = getenv("PATH");

	if (!path || !*path)
		path = "/usr/local/bin:/usr/bin:/bin";
	while (*path) {
		size_t n = strcspn(path, ":");

		if (n > 0 && (size_t)snprintf(ret, size, "%.*s/%s", (int)n, path, name) < size && access(ret, X_OK) == 0)
			return true;
		path += n + (path[n] == ':');
	}
	return false;
}

static void check_helper(struct doctor_report *r, const char *name)
{
	char path[512];
	struct stat st;

	if (!find_in_path(name, path, sizeof(path))) {
		doctor_add(r, name, DOCTOR_WARN, "is not installed: all files of images show as root's");
		doctor_remedy(r, "apt install uidmap (Debian, Ubuntu), or shadow-utils elsewhere");
		return;
	}
	if (stat(path, &st) < 0 ||
	    !((st.st_mode & S_ISUID) || getxattr(path, "security.capability", NULL, 0) > 0)) {
		doctor_add(r, name, DOCTOR_WARN, "%s has neither the setuid bit nor file capabilities", path);
		doctor_remedy(r, "install the package uidmap again, or as root: chmod u+s %s", path);
		return;
	}
	doctor_add(r, name, DOCTOR_OK, "%s", path);
}

static void check_sysctl(struct doctor_report *r, const char *name, const char *bad, const char *wanted,
			 const char *means)
{
	char path[128], value[64];

	snprintf(path, sizeof(path), "/proc/sys/%s", name);
	for (char *c = path; *c; c++)
		if (*c == '.')
			*c = '/';
	if (!doctor_read_line(path, value, sizeof(value)) || strcmp(value, bad) != 0)
		return;
	doctor_add(r, name, DOCTOR_BAD, "is %s: %s", value, means);
	doctor_remedy(r, "as root: sysctl -w %s=%s; and the same line in /etc/sysctl.d/lazyrun.conf", name, wanted);
}

static void check_apparmor(struct doctor_report *r)
{
	char value[16];

	if (!doctor_read_line("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", value, sizeof(value)) ||
	    strcmp(value, "1") != 0)
		return;
	doctor_add(r, "AppArmor", DOCTOR_WARN,
		   "restricts user namespaces to programs with a profile (apparmor_restrict_unprivileged_userns = 1)");
	doctor_remedy(r, "as root, a profile with `userns,` for lazyrun and lazyrun-image in /etc/apparmor.d/lazyrun; or "
			 "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0");
}

struct outcome {
	int err;
	const char *step; /* a literal: the same address in parent and child */
};

/* Returns 0 or a positive errno. */
static int write_file(const char *path, const char *text)
{
	_cleanup_(fd_close) int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return errno;
	return 0;
}

/* As errno at the step that failed, else 0. Runs in the child. */
static struct outcome try_mounts(uid_t uid, gid_t gid)
{
	char map[64], options[128];
	int fuse_fd, err;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return (struct outcome){errno, "a user and a mount namespace"};
	snprintf(map, sizeof(map), "0 %u 1", uid);
	err = write_file("/proc/self/setgroups", "deny");
	if (err == 0)
		err = write_file("/proc/self/uid_map", map);
	if (err)
		return (struct outcome){err, "mapping our user id"};
	snprintf(map, sizeof(map), "0 %u 1", gid);
	err = write_file("/proc/self/gid_map", map);
	if (err)
		return (struct outcome){err, "mapping our group id"};
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return (struct outcome){errno, "mounting in the namespace"};
	if (mount("none", "/tmp", "tmpfs", 0, NULL) < 0)
		return (struct outcome){errno, "mounting tmpfs"};
	if (mkdir("/tmp/l", 0700) < 0 || mkdir("/tmp/u", 0700) < 0 || mkdir("/tmp/w", 0700) < 0 ||
	    mkdir("/tmp/m", 0700) < 0)
		return (struct outcome){errno, "making directories"};
	if (mount("overlay", "/tmp/m", "overlay", 0, "lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w,userxattr") < 0)
		return (struct outcome){errno, "mounting overlayfs"};
	fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse_fd < 0)
		return (struct outcome){errno, "opening /dev/fuse"};
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse_fd);
	if (mount("lazyrun", "/tmp/l", "fuse", MS_NOSUID | MS_NODEV, options) < 0)
		return (struct outcome){errno, "mounting FUSE"};
	return (struct outcome){0, ""};
}

static struct outcome in_child(void)
{
	struct outcome o = {EIO, "a child process"};
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return o;
	pid = fork();
	if (pid == 0) {
		o = try_mounts(getuid(), getgid());
		_exit(write(ends[1], &o, sizeof(o)) == sizeof(o) ? 0 : 1);
	}
	close(ends[1]);
	if (pid > 0 && read(ends[0], &o, sizeof(o)) != sizeof(o))
		o = (struct outcome){EIO, "a child process"};
	close(ends[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return o;
}

static void check_namespaces(struct doctor_report *r)
{
	struct outcome o = in_child();

	if (o.err == 0) {
		doctor_add(r, "namespaces", DOCTOR_OK, "user and mount namespace, overlayfs and FUSE mounts inside them");
		return;
	}
	doctor_add(r, "namespaces", DOCTOR_BAD, "%s does not work: %s", o.step, strerror(o.err));
	if (strcmp(o.step, "opening /dev/fuse") == 0)
		doctor_remedy(r, "see /dev/fuse above");
	else
		doctor_remedy(r, "see the lines below, if any; inside a container: start it with --privileged, or --cap-add SYS_ADMIN "
			 "--security-opt seccomp=unconfined --device /dev/fuse");
	check_sysctl(r, "kernel.unprivileged_userns_clone", "0", "1", "ordinary users get no user namespace");
}

void doctor_user(struct doctor_report *r)
{
	struct passwd *p = getpwuid(getuid());
	char number[16];

	if (geteuid() == 0) {
		doctor_add(r, "user", DOCTOR_OK, "root: no user namespace is needed");
	} else {
		snprintf(number, sizeof(number), "%u", getuid());
		check_ranges(r, p ? p->pw_name : number);
		check_helper(r, "newuidmap");
		check_helper(r, "newgidmap");
		check_namespaces(r);
		check_apparmor(r);
		check_sysctl(r, "user.max_user_namespaces", "0", "15000", "no user namespaces at all");
	}
	check_sysctl(r, "user.max_mnt_namespaces", "0", "15000", "no mount namespaces at all");
}
