/* A sealed memory file. */
#include "base/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"

int shared_make(const char *name, size_t size, int *ret_fd, void **ret)
{
	_cleanup_(fd_close) int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return fail(errno, "no shared memory (%s, %zu bytes): %s", name, size, strerror(errno));
	r = shared_map(fd, size, ret);
	if (r == 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}

int shared_map(int fd, size_t size, void **ret)
{
	struct stat st;
	void *at;

	if (fstat(fd, &st) < 0)
		return fail(errno, "shared memory: %s", strerror(errno));
	if ((uint64_t)st.st_size != size)
		return fail(EBADMSG, "shared memory has %" PRIu64 " bytes and not %zu", (uint64_t)st.st_size, size);
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (at == MAP_FAILED)
		return fail(errno, "shared memory (%zu bytes) cannot be mapped: %s", size, strerror(errno));
	*ret = at;
	return 0;
}

void shared_unmap(void *at, size_t size)
{
	if (at)
		munmap(at, size);
}

void shared_release(void *at, size_t size)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t first = ((uintptr_t)at + page - 1) / page * page, end = ((uintptr_t)at + size) / page * page;

	if (first < end)
		madvise((void *)first, end - first, MADV_REMOVE);
}
