/* The order of steps is the security of a container: read init_run() from top to bottom. */
#include "runtime/init.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <linux/memfd.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/report.h"
#include "runtime/caps.h"
#include "runtime/devices.h"
#include "runtime/mount_target.h"
#include "runtime/mounts.h"
#include "runtime/namespaces.h"
#include "runtime/rootfs.h"
#include "runtime/seccomp.h"
#include "runtime/stage.h"
#include "runtime/sync.h"
#include "runtime/terminal.h"
#include "runtime/user.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif
#define LAUNCHER_SYNC_FD 3

extern const unsigned char launcher_data[];
extern const size_t launcher_size;

int init_launcher(void)
{
	_cleanup_(fd_close) int fd = memfd_create("lazyrun", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	int r;

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("lazyrun", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return fail(errno, "making a sealed file: %s%s", strerror(errno),
			    errno == EACCES ? "; the sysctl vm.memfd_noexec=2 forbids it" : "");
	r = fd_write_full(fd, launcher_data, launcher_size);
	if (r == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		r = -errno;
	return r < 0 ? fail(-r, "making a sealed file: %s", strerror(-r)) : TAKE_FD(fd);
}

/* The container ends with its parent. A change of credentials disarms this, so it is said twice. */
static int die_with_parent(int sync_fd)
{
	struct pollfd p = {.fd = sync_fd};

	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return fail(errno, "PR_SET_PDEATHSIG: %s", strerror(errno));
	if (poll(&p, 1, 0) == 1 && (p.revents & POLLHUP))
		_exit(125); /* it died before the line above */
	return 0;
}

/* Handlers vanish at exec; what our caller ignored would stay ignored. By the system call, because the
 * C library keeps 32 and 33 to itself, and a caller may have them ignored all the same. */
static void default_signals(void)
{
	static const uint64_t default_action[4]; /* the kernel's struct sigaction: SIG_DFL is 0 */
	sigset_t none;

	for (int s = 1; s <= 64; s++)
		syscall(SYS_rt_sigaction, s, default_action, NULL, sizeof(uint64_t));
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int make_surroundings(const struct config *c)
{
	if (c->hostname && (c->namespaces & CLONE_NEWUTS) && sethostname(c->hostname, strlen(c->hostname)) < 0)
		return fail(errno, "setting the host name: %s", strerror(errno));
	/* The caller's keys are not the container's. Kernels without keyrings have none to protect. */
	syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
	return namespaces_own_network(c->namespaces);
}

/* Our descriptors that the command will have: a terminal, or the caller's own. */
static int make_stdio(struct init_plan *p, int root_fd)
{
	_cleanup_(fd_close) int master_fd = -1, slave_fd = -1, null_fd = -1, dev_fd = -1;
	const struct config *c = p->config;
	int r;

	if (setsid() < 0)
		return fail(errno, "setsid: %s", strerror(errno));
	if (c->terminal) {
		r = terminal_open(root_fd, c->uid, &p->size, &master_fd, &slave_fd);
		if (r < 0)
			return r;
		dev_fd = beneath_cache_open(root_fd, "dev", O_PATH | O_DIRECTORY, 0);
		r = dev_fd < 0 ? dev_fd : devices_bind_console(dev_fd, slave_fd);
		if (r == 0)
			r = sync_send(p->sync_fds[1], SYNC_TERMINAL, 0, "", master_fd);
		if (r < 0)
			return report_any() ? r : fail(-r, "passing the terminal on: %s", strerror(-r));
		return terminal_adopt(slave_fd);
	}
	if (!c->interactive) {
		null_fd = beneath_root_open(root_fd, "/dev/null", O_RDONLY, 0);
		if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0)
			return fail(null_fd < 0 ? -null_fd : errno, "opening the container's /dev/null failed");
	}
	/* So that /dev/stdout can be opened; never the caller's files or terminals. */
	for (int fd = 0; fd <= 2 && c->uid != 0; fd++) {
		struct stat st;

		if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) && fchown(fd, c->uid, (gid_t)-1) < 0)
			continue; /* a pipe of another user's stays theirs */
	}
	return 0;
}

/* HOME is what passwd says unless the config has one. */
static int look_up_user(struct config *c, int root_fd)
{
	_cleanup_(user_free) struct user u = {0};
	_cleanup_(fd_free_memory) char *home = NULL;
	int r;

	if (!c->user)
		return 0;
	r = user_resolve(root_fd, c->user, (const char *const *)c->more_groups, &u);
	if (r < 0)
		return r;
	c->uid = u.uid;
	c->gid = u.gid;
	c->groups = TAKE(u.groups);
	c->n_groups = u.n_groups;
	if (config_env(c, "HOME"))
		return 0;
	if (asprintf(&home, "HOME=%s", u.home) < 0) {
		home = NULL;
		return fail(ENOMEM, "out of memory");
	}
	return config_set_env(c, home) < 0 ? fail(ENOMEM, "out of memory") : 0;
}

static enum mounts_which mounts_left(const struct init_plan *p)
{
	return p->stage ? MOUNTS_LATE : MOUNTS_ALL;
}

/* Without a stage the root is made before the mount namespace, with one it comes with it. */
static int enter_namespaces(const struct init_plan *p, int *root_fd)
{
	const uint64_t wanted = p->config->namespaces;
	int r = namespaces_enter(p->stage ? wanted & ~stage_namespaces() : wanted);

	if (r < 0 || !p->stage)
		return r;
	*root_fd = stage_enter(p->stage);
	return *root_fd < 0 ? *root_fd : 0;
}

static int make_root(struct init_plan *p, int root_fd)
{
	struct config *c = p->config;
	_cleanup_(fd_close) int cwd_fd = -1;
	int r;

	if ((!p->stage && (r = rootfs_attach(root_fd)) < 0) || (r = look_up_user(c, root_fd)) < 0 ||
	    (r = mounts_attach_all(c, mounts_left(p), p->trees, p->cgroup, root_fd)) < 0)
		return r;
	cwd_fd = mount_target_make(root_fd, c->cwd, false);
	if (cwd_fd < 0)
		return fail(-cwd_fd, "the working directory %s: %s", c->cwd, strerror(-cwd_fd));
	r = make_stdio(p, root_fd);
	if (r == 0)
		r = rootfs_protect(c, root_fd);
	return r < 0 || p->stage ? r : rootfs_enter(root_fd);
}

static int set_limits(const struct config *c)
{
	for (size_t i = 0; i < c->n_rlimits; i++) {
		const struct config_rlimit *l = &c->rlimits[i];
		const struct rlimit value = {l->soft, l->hard};

		if (setrlimit((__rlimit_resource_t)l->resource, &value) < 0)
			return fail(errno, "setting resource limit %d to %llu:%llu: %s", l->resource,
				    (unsigned long long)l->soft, (unsigned long long)l->hard, strerror(errno));
	}
	if (c->has_oom_score_adj) {
		_cleanup_(fd_close) int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

		if (fd < 0 || dprintf(fd, "%d", c->oom_score_adj) < 0)
			return fail(errno, "setting oom_score_adj: %s", strerror(errno));
	}
	return 0;
}

/* CVE-2024-21626: a directory outside the root shows as a path that does not begin with '/'. */
static int enter_directory(const struct config *c)
{
	char here[4096];
	long n;

	if (chdir(c->cwd) < 0)
		return -errno;
	n = syscall(SYS_getcwd, here, sizeof(here));
	if (n <= 0 || here[0] != '/')
		return fail(EACCES, "the working directory %s lies outside the container", c->cwd);
	return 0;
}

static int become_user(const struct config *c)
{
	if (c->n_groups > 0 || c->uid != 0 || !c->user_namespace)
		if (setgroups(c->n_groups, c->groups) < 0 && !(errno == EPERM && c->user_namespace))
			return fail(errno, "setting the supplementary groups: %s", strerror(errno));
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setresgid(c->gid, c->gid, c->gid) < 0 ||
	    setresuid(c->uid, c->uid, c->uid) < 0)
		return fail(errno, "becoming user %u:%u: %s%s", c->uid, c->gid, strerror(errno),
			    errno == EINVAL && c->user_namespace
				    ? "; this number is not mapped, /etc/subuid and /etc/subgid give ranges"
				    : "");
	return 0;
}

/* Without no_new_privs, seccomp(2) asks for CAP_SYS_ADMIN, so the filter comes before the capabilities go. */
static int drop_privileges(struct init_plan *p)
{
	const struct config *c = p->config;
	int r, found;

	found = enter_directory(c); /* as root, and again as the user: either may be the one who may */
	if (report_any())
		return found;
	r = caps_bound(&c->capabilities);
	if (r == 0)
		r = become_user(c);
	if (r == 0)
		r = die_with_parent(p->sync_fds[1]);
	if (r == 0 && found < 0 && (r = enter_directory(c)) < 0 && !report_any())
		fail(-r, "the working directory %s: %s", c->cwd, strerror(-r));
	umask(c->umask);
	if (r == 0 && c->uid != 0)
		r = caps_raise();
	if (r == 0 && !c->no_new_privileges)
		r = seccomp_install(&c->seccomp);
	if (r == 0)
		r = caps_apply(&c->capabilities);
	if (r == 0 && c->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = fail(errno, "PR_SET_NO_NEW_PRIVS: %s", strerror(errno));
	if (r == 0 && c->no_new_privileges)
		r = seccomp_install(&c->seccomp);
	return r;
}

/* argv of the launcher: what it is to do, then the command. */
static char **launcher_arguments(const struct config *c)
{
	size_t n = 0;
	char **argv;

	while (c->args[n])
		n++;
	argv = calloc(n + 2, sizeof(*argv));
	if (argv) {
		argv[0] = (char *)(uintptr_t)(c->init ? "init" : "exec");
		memcpy(argv + 1, c->args, n * sizeof(*argv));
	}
	return argv;
}

/* The launcher keeps the sync socket, at a number it knows, and closes it by executing the command. */
static int arrange_descriptors(struct init_plan *p)
{
	int launcher_fd = fcntl(p->launcher_fd, F_DUPFD_CLOEXEC, LAUNCHER_SYNC_FD + 1);
	int sync_fd = fcntl(p->sync_fds[1], F_DUPFD_CLOEXEC, LAUNCHER_SYNC_FD + 1);

	if (launcher_fd < 0 || sync_fd < 0 || dup2(sync_fd, LAUNCHER_SYNC_FD) < 0)
		return fail(errno, "dup: %s", strerror(errno));
	p->launcher_fd = launcher_fd;
	p->sync_fds[1] = sync_fd;
	if (close_range(LAUNCHER_SYNC_FD + 1, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		return fail(errno, "close_range: %s", strerror(errno));
	return 0;
}

static int run(struct init_plan *p)
{
	const struct config *c = p->config;
	_cleanup_(fd_free_memory) char **argv = launcher_arguments(c);
	char path[32];
	int root_fd = -1, r;

	if (!argv)
		return fail(ENOMEM, "out of memory");
	umask(0);
	default_signals();
	r = die_with_parent(p->sync_fds[1]);
	if (r < 0)
		return r;
	if (!p->stage && (root_fd = rootfs_new(c)) < 0)
		return root_fd;
	if ((r = mounts_prepare(c, mounts_left(p), p->trees)) < 0 ||
	    (r = cgroup_join(p->cgroup)) < 0 ||
	    (r = enter_namespaces(p, &root_fd)) < 0 ||
	    (r = make_surroundings(c)) < 0 ||
	    (r = make_root(p, root_fd)) < 0 ||
	    (r = set_limits(c)) < 0 ||
	    (r = arrange_descriptors(p)) < 0)
		return r;
	sync_wait(p->sync_fds[1]);
	r = drop_privileges(p);
	if (r < 0)
		return r;
	/* By execve, which every seccomp profile must allow; by execveat in a container without /proc. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p->launcher_fd);
	execve(path, argv, c->env);
	if (errno == ENOENT)
		syscall(SYS_execveat, p->launcher_fd, "", argv, c->env, AT_EMPTY_PATH);
	return fail(errno, "executing the launcher: %s", strerror(errno));
}

void init_run(struct init_plan *p)
{
	char text[REPORT_TEXT_SIZE];
	int r;

	fd_close(&p->sync_fds[0]);
	report_forget();
	report_capture(text);
	r = run(p);
	sync_send(p->sync_fds[1], SYNC_FAILED, -r, text, -1);
	_exit(125);
}
