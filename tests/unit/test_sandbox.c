/* sandbox: who has entered it tries to leave, and is refused each time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/named_paths.h"
#include "base/limits.h"
#include "base/sandbox.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static char store[] = "/tmp/sandbox-store-XXXXXX", outside[] = "/tmp/sandbox-outside-XXXXXX";

/* Each try is a line's number when it was not refused as it should be. */
#define REFUSED(call)                                                                                                  \
	do {                                                                                                           \
		errno = 0;                                                                                             \
		if ((long)(call) >= 0 || (errno != EPERM && errno != EACCES))                                          \
			return __LINE__;                                                                               \
	} while (0)
#define WORKS(call)                                                                                                    \
	do {                                                                                                           \
		if ((call) < 0)                                                                                        \
			return __LINE__;                                                                               \
	} while (0)

static void *nothing(void *argument)
{
	return argument;
}

static int programs_and_processes(void)
{
	char *const argv[] = {"true", NULL};

	REFUSED(execv("/bin/true", argv));
	REFUSED(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
	REFUSED(fork());
	REFUSED(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
	REFUSED(mount("none", "/tmp", "tmpfs", 0, NULL));
	REFUSED(unshare(CLONE_NEWNS));
	REFUSED(unshare(CLONE_NEWUSER));
	REFUSED(syscall(SYS_setns, 0, 0));
	REFUSED(syscall(SYS_bpf, 0, NULL, 0));
	REFUSED(syscall(SYS_userfaultfd, 0));
	REFUSED(socket(AF_PACKET, SOCK_RAW, 0));
	return 0;
}

static int fetcher_tries(void)
{
	char path[80], layout[80];
	pthread_t thread;
	struct rlimit memory;
	int run;
	int fd = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC), line;
	int other = open(outside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	WORKS(fd);
	WORKS(other);
	run = openat(other, "run", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	WORKS(run);
	snprintf(layout, sizeof(layout), "%s/layout", outside);
	WORKS(named_paths_add(run, layout));
	WORKS(sandbox_enter_fetcher(fd, run));
	if (!SANITIZED) {
		line = programs_and_processes();
		if (line)
			return line;
		REFUSED(socket(AF_INET, SOCK_RAW, 1));
		REFUSED(socket(AF_VSOCK, SOCK_STREAM, 0));
		REFUSED(kill(getppid(), 0));
		WORKS(getrlimit(RLIMIT_DATA, &memory));
		if (memory.rlim_max > LIMIT_FETCHER_MEMORY)
			return __LINE__;
		if (mmap(NULL, LIMIT_FETCHER_MEMORY + (1 << 20), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED)
			return __LINE__;
	}
	WORKS(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	WORKS(openat(fd, "file", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	WORKS(renameat(fd, "file", fd, "other"));
	WORKS(unlinkat(fd, "other", 0));
	if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
		return __LINE__;
	if (sandbox_is_outdated(run))
		return __LINE__;
	if (sandbox_landlock_version() == 0)
		return 0;
	REFUSED(open("/etc/shadow", O_RDONLY));
	REFUSED(open("/etc/passwd", O_RDONLY));
	REFUSED(open("/proc/1/environ", O_RDONLY));
	REFUSED(openat(other, "file", O_CREAT | O_RDWR, 0600));
	snprintf(path, sizeof(path), "%s/present", outside);
	REFUSED(open(path, O_WRONLY));
	REFUSED(unlink(path));
	REFUSED(open(path, O_RDONLY));
	REFUSED(openat(run, "readable", O_WRONLY | O_APPEND));
	REFUSED(openat(run, "more", O_CREAT | O_WRONLY, 0600));
	snprintf(path, sizeof(path), "%s/layout/blob", outside);
	WORKS(open(path, O_RDONLY));
	REFUSED(open(path, O_WRONLY));
	return 0;
}

static int server_tries(void)
{
	pthread_t thread;
	int line;

	WORKS(sandbox_enter_server());
	line = programs_and_processes();
	if (line)
		return line;
	REFUSED(socket(AF_INET, SOCK_STREAM, 0));
	REFUSED(socket(AF_UNIX, SOCK_STREAM, 0));
	WORKS(unshare(CLONE_FILES));
	return pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0 ? 0 : __LINE__;
}

/* In a process of its own; the line of the first try that went wrong. */
static int in_child(int (*tries)(void))
{
	int pipe_fds[2], line = -1;
	pid_t pid;

	assert_return_code(pipe2(pipe_fds, O_CLOEXEC), errno);
	pid = fork();
	assert_return_code(pid, errno);
	if (pid == 0) {
		line = tries();
		_exit(write(pipe_fds[1], &line, sizeof(line)) != sizeof(line));
	}
	close(pipe_fds[1]);
	assert_int_equal(read(pipe_fds[0], &line, sizeof(line)), sizeof(line));
	close(pipe_fds[0]);
	waitpid(pid, NULL, 0);
	return line;
}

static void fetcher_cannot_leave(void **state)
{
	(void)state;
	assert_int_equal(in_child(fetcher_tries), 0);
}

/* A sandbox is left behind by what is allowed later: the process has to end, and knows it. */
static int outdated_tries(void)
{
	int run = open(outside, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	WORKS(named_paths_add(run, "/one"));
	WORKS(sandbox_enter_fetcher(fd, run));
	return sandbox_is_outdated(run) ? __LINE__ : 0;
}

static void paths_are_listed_once(void **state)
{
	int run = open(outside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char path[80];
	struct stat st;

	(void)state;
	assert_int_equal(in_child(outdated_tries), 0);
	assert_true(sandbox_is_outdated(run)); /* nothing was seen here yet */
	assert_return_code(named_paths_add(run, "/one"), 0);
	assert_return_code(named_paths_add(run, "/two"), 0);
	assert_return_code(named_paths_add(run, "/two"), 0);
	snprintf(path, sizeof(path), "%s/readable", outside);
	assert_return_code(stat(path, &st), errno);
	assert_int_equal(st.st_size, sizeof("/one") + sizeof("/two"));
	for (int i = 0; i < 40; i++) { /* the list stays small */
		char deep[4000];

		memset(deep, 'a' + i % 26, sizeof(deep) - 1);
		deep[sizeof(deep) - 1] = '\0';
		snprintf(deep, 16, "/%d", i);
		deep[strlen(deep)] = '/';
		assert_return_code(named_paths_add(run, deep), 0);
	}
	assert_return_code(stat(path, &st), errno);
	assert_in_range(st.st_size, 1, LIMIT_NAMED_PATHS_SIZE);
	close(run);
}

static void server_cannot_leave(void **state)
{
	(void)state;
	assert_int_equal(in_child(server_tries), 0);
}

static int prepare(void **state)
{
	char path[80];

	(void)state;
	if (!mkdtemp(store) || !mkdtemp(outside))
		return -1;
	snprintf(path, sizeof(path), "%s/run", outside);
	if (mkdir(path, 0700) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/layout", outside);
	if (mkdir(path, 0700) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/layout/blob", outside);
	if (close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/present", outside);
	return close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static int clean(void **state)
{
	(void)state;
	fd_remove_tree(AT_FDCWD, store);
	fd_remove_tree(AT_FDCWD, outside);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fetcher_cannot_leave),
		cmocka_unit_test(server_cannot_leave),
		cmocka_unit_test(paths_are_listed_once),
	};

	return cmocka_run_group_tests(tests, prepare, clean);
}
