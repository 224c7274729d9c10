/* answer_kill: preloaded, kills the first fetcher that is about to answer a "remove", when all is done. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int *done; /* for all processes of a server */

__attribute__((constructor)) static void begin(void)
{
	done = mmap(NULL, sizeof(*done), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static int says(const struct msghdr *m, const char *what)
{
	for (size_t i = 0; i < m->msg_iovlen; i++)
		if (memmem(m->msg_iov[i].iov_base, m->msg_iov[i].iov_len, what, strlen(what)))
			return 1;
	return 0;
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	if (!*done && says(m, "removed_layers")) {
		*done = 1;
		raise(SIGKILL); /* kill(2) is refused there */
	}
	return syscall(SYS_sendmsg, fd, m, flags);
}
