/* This program's own file, and a file of bytes for link_facts to read. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"

static inline void own_file(struct bytes *ret)
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n <= 0)
		abort();
	path[n] = '\0';
	if (fd_read_file(AT_FDCWD, path, 64u << 20, ret) != 0)
		abort();
}

/* A link_read_fn. */
static inline int read_bytes(void *opaque, uint64_t off, void *data, size_t size, size_t *ret_size)
{
	const struct bytes *b = opaque;

	if (off >= b->size)
		return -ENOEXEC;
	*ret_size = b->size - off < size ? b->size - (size_t)off : size;
	memcpy(data, b->data + off, *ret_size);
	return 0;
}
