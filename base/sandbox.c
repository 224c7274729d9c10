/* Two seccomp programs and one Landlock rule set. */
#include "base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/named_paths.h"
#include "base/report.h"
#include "base/sanitized.h"

#define TRUNCATE (UINT64_C(1) << 14) /* LANDLOCK_ACCESS_FS_TRUNCATE, Linux 6.2 */
#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)

/* All that libcurl, OpenSSL, getaddrinfo(), the allocator, threads and our own store need. */
static const char *const fetcher_calls[] = {
	"read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "open",
	"openat", "openat2", "close", "close_range", "lseek", "fcntl", "flock", "dup", "dup2", "dup3", "stat", "fstat",
	"lstat", "newfstatat", "statx", "statfs", "fstatfs", "access", "faccessat", "faccessat2", "readlink",
	"readlinkat", "getdents64", "getcwd", "rename", "renameat", "renameat2", "link", "linkat", "symlinkat",
	"unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "fchmod", "fchmodat", "fchown", "utimensat", "ftruncate",
	"fallocate", "fadvise64", "readahead", "fsync", "fdatasync", "sync_file_range", "syncfs", "copy_file_range",
	"sendfile", "splice", "tee", "fsetxattr", "fgetxattr", "memfd_create", "umask", "mmap", "munmap", "mprotect",
	"mremap", "madvise", "msync", "mincore", "brk", "futex", "set_robust_list", "get_robust_list", "rseq",
	"membarrier", "set_tid_address", "sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam",
	"sched_getscheduler", "setpriority", "getpriority", "ioprio_set", "rt_sigaction", "rt_sigprocmask",
	"rt_sigreturn", "rt_sigtimedwait", "rt_sigpending", "sigaltstack", "tgkill", "exit", "exit_group",
	"restart_syscall", "poll", "ppoll", "select", "pselect6", "epoll_create1", "epoll_ctl", "epoll_wait",
	"epoll_pwait", "epoll_pwait2", "eventfd2", "pipe", "pipe2", "timerfd_create", "timerfd_settime",
	"timerfd_gettime", "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time",
	"getrandom", "uname", "sysinfo", "getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid",
	"getrusage", "getcpu", "arch_prctl", "connect", "bind", "getsockname", "getpeername", "getsockopt",
	"setsockopt", "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg", "shutdown", "socketpair",
	"getrlimit", "times", "alarm", "setitimer",
};

/* What no part of the server has a use for; connected sockets and /dev/fuse it was given. */
static const char *const server_refused[] = {
	"socket", "connect", "bind", "listen", "accept", "accept4", "execve", "execveat", "fork", "vfork", "ptrace",
	"process_vm_readv", "process_vm_writev", "pidfd_getfd", "pidfd_open", "pidfd_send_signal", "mount", "umount2",
	"move_mount", "open_tree", "fsopen", "fsmount", "fsconfig", "fspick", "mount_setattr", "pivot_root", "chroot",
	"setns", "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "init_module",
	"finit_module", "delete_module", "kexec_load", "kexec_file_load", "open_by_handle_at", "reboot", "swapon",
	"swapoff", "acct", "settimeofday", "clock_settime", "sethostname", "setdomainname", "mknod", "mknodat",
	"setuid", "setgid", "setresuid", "setresgid", "setgroups", "iopl", "ioperm", "kcmp",
};

/* Read by the resolver, TLS and the C library; all else is closed. */
static const char *const readable[] = {
	"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/host.conf", "/etc/services",
	"/etc/protocols", "/etc/localtime", "/etc/ld.so.cache", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
	"/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls", "/etc/pki/ca-trust", "/etc/ca-certificates",
	"/etc/crypto-policies", "/etc/docker/certs.d", "/etc/containers/certs.d", "/usr", "/lib", "/lib64",
	"/nix/store", "/var/lib/ca-certificates", "/dev/null", "/dev/urandom", "/proc/self",
	"/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/random", "/proc/meminfo", "/proc/cpuinfo",
	"/sys/devices/system/cpu",
};

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define REPLACED 6 /* the first of readable: administrators' programs write them anew */

struct version {
	ino_t ino;
	struct timespec mtime;
};

static struct version seen[REPLACED + 1]; /* the last one is the list of named paths */
static struct bytes named;		  /* what it said */
static ino_t seen_named;		  /* what those were, together */

static int filter_names(scmp_filter_ctx f, uint32_t action, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int call = seccomp_syscall_resolve_name(names[i]), r;

		if (call == __NR_SCMP_ERROR || call < 0) /* not on this machine */
			continue;
		r = seccomp_rule_add(f, action, call, 0);
		if (r < 0)
			return r;
	}
	return 0;
}

/* clone3's flags lie in memory, so glibc is sent back to clone, which makes threads only. */
static int filter_threads(scmp_filter_ctx f)
{
	int r = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

	return r < 0 ? r : 0;
}

static int fetcher_arguments(scmp_filter_ctx f)
{
	static const int families[] = {AF_INET, AF_INET6};
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
	static const unsigned long ioctls[] = {FIONBIO, FIONREAD, TCGETS, TIOCGWINSZ};
	int r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				 SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));

	for (size_t i = 0; r == 0 && i < 4; i++)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
				     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i / 2]),
				     SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, (scmp_datum_t)types[i % 2]));
	if (r == 0) /* nscd and the like */
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
	if (r == 0) /* getaddrinfo() asks which addresses this machine has: NETLINK_ROUTE */
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, SCMP_A0(SCMP_CMP_EQ, AF_NETLINK),
				     SCMP_A2(SCMP_CMP_EQ, 0));
	for (size_t i = 0; r == 0 && i < N(ioctls); i++)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, ioctls[i]));
	if (r == 0)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME));
	if (r == 0) /* of itself only; limits can only be lowered */
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A0(SCMP_CMP_EQ, 0));
	return r;
}

static int server_arguments(scmp_filter_ctx f)
{
	int r = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
				 SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));

	if (r == 0) /* the notices' thread has a descriptor table of its own */
		r = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 1,
				     SCMP_A0(SCMP_CMP_NE, CLONE_FILES));
	return r;
}

static int load(bool fetcher)
{
	scmp_filter_ctx f = seccomp_init(fetcher && !SANITIZED ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_ALLOW);
	int r = f ? filter_threads(f) : -ENOMEM;

	if (r == 0 && fetcher && !SANITIZED) {
		r = filter_names(f, SCMP_ACT_ALLOW, fetcher_calls, N(fetcher_calls));
		if (r == 0)
			r = fetcher_arguments(f);
	} else if (r == 0) { /* a sanitized fetcher needs sockets, and more calls than we can list */
		size_t first = fetcher ? 6 : 0;

		r = filter_names(f, SCMP_ACT_ERRNO(EPERM), server_refused + first, N(server_refused) - first);
		if (r == 0)
			r = server_arguments(f);
	}
	if (r == 0) /* a tree of comparisons: some five a call instead of a hundred */
		r = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = seccomp_load(f);
	seccomp_release(f);
	return r < 0 ? fail(-r, "the seccomp filter cannot be loaded: %s", strerror(-r)) : 0;
}

int sandbox_landlock_version(void)
{
	long r = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return r < 0 ? 0 : (int)r;
}

/* A path that is not there needs no rule. */
static int allow(int rules_fd, int fd, uint64_t access)
{
	struct landlock_path_beneath_attr a = {.allowed_access = access, .parent_fd = fd};

	if (syscall(SYS_landlock_add_rule, rules_fd, LANDLOCK_RULE_PATH_BENEATH, &a, 0) < 0)
		return fail(errno, "a Landlock rule cannot be made: %s", strerror(errno));
	return 0;
}

static int allow_reading(int rules_fd, const char *path)
{
	_cleanup_(fd_close) int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || S_ISLNK(st.st_mode))
		return 0;
	return allow(rules_fd, fd, S_ISDIR(st.st_mode) ? READ : LANDLOCK_ACCESS_FS_READ_FILE);
}

/* What commands have named since the run directory was made. */
static int allow_named(int rules_fd)
{
	int r = 0;

	for (const char *p = (const char *)named.data, *end = p + named.size; r == 0 && p < end; p += strlen(p) + 1)
		r = allow_reading(rules_fd, p);
	return r;
}

static int restrict_files(int store_fd)
{
	int version = sandbox_landlock_version(), r;
	struct landlock_ruleset_attr attr = {.handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1};
	_cleanup_(fd_close) int rules_fd = -1;

	if (version == 0) {
		report_note("this kernel has no Landlock: the fetcher's files are guarded by their owners and modes alone");
		return 0;
	}
	if (version >= 2)
		attr.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
	if (version >= 3)
		attr.handled_access_fs |= TRUNCATE;
	rules_fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (rules_fd < 0)
		return fail(errno, "Landlock: %s", strerror(errno));
	r = allow(rules_fd, store_fd, attr.handled_access_fs & ~(uint64_t)LANDLOCK_ACCESS_FS_EXECUTE);
	for (size_t i = 0; r == 0 && i < N(readable); i++)
		r = allow_reading(rules_fd, readable[i]);
	if (r == 0)
		r = allow_named(rules_fd);
	if (r == 0 && syscall(SYS_landlock_restrict_self, rules_fd, 0) < 0)
		r = fail(errno, "Landlock: %s", strerror(errno));
	return r;
}

static struct version version_of(int dir_fd, const char *path)
{
	struct stat st;

	return fstatat(dir_fd, path, &st, 0) < 0 ? (struct version){0} : (struct version){st.st_ino, st.st_mtim};
}

/* A CA file that was replaced is another inode. */
static ino_t look_at_named(void)
{
	struct stat st;
	ino_t sum = 0;

	for (const char *p = (const char *)named.data, *end = p + named.size; p < end; p += strlen(p) + 1)
		if (stat(p, &st) == 0)
			sum = sum * 31 + st.st_ino;
	return sum;
}

static void look(int run_fd, struct version *now)
{
	for (size_t i = 0; i < REPLACED; i++)
		now[i] = version_of(AT_FDCWD, readable[i]);
	now[REPLACED] = version_of(run_fd, NAMED_PATHS);
}

bool sandbox_is_outdated(int run_fd)
{
	struct version now[REPLACED + 1];

	look(run_fd, now);
	for (size_t i = 0; i <= REPLACED; i++)
		if (now[i].ino != seen[i].ino || now[i].mtime.tv_sec != seen[i].mtime.tv_sec ||
		    now[i].mtime.tv_nsec != seen[i].mtime.tv_nsec)
			return true;
	return look_at_named() != seen_named;
}

static int set_capabilities(uint32_t effective, uint32_t permitted)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{effective, permitted, 0}, {0, 0, 0}};

	return syscall(SYS_capset, &head, data) < 0 ? fail(errno, "capset: %s", strerror(errno)) : 0;
}

/* Root may name a layout that another user keeps for himself: only then is it read by force. */
static int restrict_capabilities(void)
{
	const uint32_t force = 1u << CAP_DAC_READ_SEARCH;
	int r = set_capabilities(0, force);

	if (r == 0 && named_paths_need_more(&named))
		return set_capabilities(force, force);
	return r < 0 ? r : set_capabilities(0, 0);
}

int sandbox_enter_fetcher(int store_fd, int run_fd)
{
	struct rlimit memory;
	int r;

	look(run_fd, seen);
	r = named_paths_read(run_fd, &named);
	if (r < 0)
		return r;
	seen_named = look_at_named();
	if (!SANITIZED && getrlimit(RLIMIT_DATA, &memory) == 0 && memory.rlim_max > LIMIT_FETCHER_MEMORY) {
		memory = (struct rlimit){LIMIT_FETCHER_MEMORY, LIMIT_FETCHER_MEMORY};
		if (setrlimit(RLIMIT_DATA, &memory) < 0)
			return fail(errno, "RLIMIT_DATA: %s", strerror(errno));
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fail(errno, "no_new_privs: %s", strerror(errno));
	r = restrict_capabilities();
	if (r == 0)
		r = restrict_files(store_fd);
	return r < 0 ? r : load(true);
}

int sandbox_enter_server(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fail(errno, "no_new_privs: %s", strerror(errno));
	return load(false);
}
