/* narrow_kills: preloaded, kills the file server in the narrowest moments: between reading a request and anything
 * else (of INIT too), before an answer is written, and right after. NARROW_DIR says where it notes what was done once.
 */
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char directory[256];
static atomic_int n_reads, n_writes;

__attribute__((constructor)) static void begin(void)
{
	const char *d = getenv("NARROW_DIR"); /* before serve cleans its environment */

	snprintf(directory, sizeof(directory), "%s", d ? d : "");
}

static int is_server(void)
{
	char name[17] = "";

	prctl(PR_GET_NAME, name);
	return directory[0] && strcmp(name, "lazyrun-server") == 0;
}

static int once(const char *what)
{
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, what);
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void die(const char *where)
{
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, where);
	fd = open(path, O_CREAT | O_APPEND | O_WRONLY, 0600);
	if (fd >= 0) {
		(void)!syscall(SYS_write, fd, "x", 1);
		close(fd);
	}
	kill(getpid(), SIGKILL);
	pause();
}

/* Another one in each server. */
static int due(int n, int salt)
{
	return n == 20 + (getpid() * 7 + salt) % 60;
}

ssize_t read(int fd, void *data, size_t size)
{
	ssize_t n = syscall(SYS_read, fd, data, size);
	struct fuse_in_header h;

	if (n < (ssize_t)sizeof(h) || size != 64 << 10)
		return n;
	memcpy(&h, data, sizeof(h));
	if (h.len != (uint32_t)n || !is_server())
		return n;
	if (h.opcode == FUSE_INIT && once("init"))
		die("init-read");
	if (getpid() % 3 == 0 && due(++n_reads, 1))
		die("read");
	return n;
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
	struct fuse_out_header h;
	ssize_t written;
	int now;

	if (n < 1 || parts[0].iov_len != sizeof(h) || !is_server())
		return syscall(SYS_writev, fd, parts, n);
	memcpy(&h, parts[0].iov_base, sizeof(h));
	now = h.unique != 0 && due(++n_writes, 2);
	if (h.unique != 0 && once("first"))
		die("init-answer"); /* the first answer is that to INIT */
	if (now && getpid() % 3 == 1)
		die("before-answer");
	written = syscall(SYS_writev, fd, parts, n);
	if (now && getpid() % 3 == 2)
		die("after-answer");
	return written;
}
