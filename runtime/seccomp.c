/* A cached program is used only when the whole text it was compiled from is the same. */
#include "runtime/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "runtime/caps.h"
#include "runtime/seccomp_profile.h"

/* Made by seccomp_gen and embed at build time. */
extern const struct sock_filter seccomp_default_program[];
extern const size_t seccomp_default_program_size;
extern const uint32_t seccomp_default_flags;
extern const unsigned char seccomp_profile_data[];
extern const size_t seccomp_profile_size;

int seccomp_install(const struct config_seccomp *s)
{
	struct sock_fprog program = {
		.len = (unsigned short)(s->size / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)(uintptr_t)s->program,
	};

	if (!s->program)
		return 0;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, s->flags, &program) < 0)
		return fail(errno, "installing the seccomp filter: %s", strerror(errno));
	return 0;
}

/* What a program depends on: the kernel (minKernel), the capabilities, the text, this lazyrun. */
static int make_key(const struct bytes *text, uint64_t caps, struct bytes *ret)
{
	struct utsname u;
	int r;

	if (uname(&u) < 0)
		return -errno;
	r = bytes_printf(ret, "lazyrun " LAZYRUN_VERSION " %s %s %016llx %zu\n", u.machine, u.release,
			 (unsigned long long)caps, text->size);
	return r < 0 ? r : bytes_append(ret, text->data, text->size);
}

/* FNV-1a. */
static uint64_t fnv(const void *data, size_t size)
{
	const uint8_t *at = data;
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < size; i++)
		h = (h ^ at[i]) * UINT64_C(0x100000001b3);
	return h;
}

/* Only names a file; the key itself decides. */
static void name_key(const struct bytes *key, char name[17])
{
	snprintf(name, 17, "%016llx", (unsigned long long)fnv(key->data, key->size));
}

/* File: u32 flags, u32 size of the key, the key, the program, u64 fnv() of the program, in the machine's byte order:
 * a crash of the machine may leave zeros where a part of a program was. */
static int load(int dir_fd, const char *name, const struct bytes *key, struct config_seccomp *ret)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	struct cursor c;
	const uint8_t *at;
	uint32_t flags, size;
	struct stat st;
	uint64_t check;
	int r;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & 0777) != 0600)
		return -EPERM;
	r = fd_read_file(dir_fd, name, LIMIT_SECCOMP_SIZE + (BPF_MAXINSNS + 64) * sizeof(struct sock_filter), &b);
	if (r < 0)
		return r;
	c = (struct cursor){b.data, b.size, 0};
	if (cursor_u32(&c, &flags) < 0 || cursor_u32(&c, &size) < 0 || cursor_take(&c, size, &at) < 0 ||
	    size != key->size || memcmp(at, key->data, size) != 0)
		return -EBADMSG;
	if (c.size - c.pos < sizeof(check))
		return -EBADMSG;
	size = (uint32_t)(c.size - c.pos - sizeof(check));
	memcpy(&check, c.data + c.size - sizeof(check), sizeof(check));
	if (check != fnv(c.data + c.pos, size))
		return -EBADMSG;
	if (size == 0 || size % sizeof(struct sock_filter) != 0 || size / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return -EBADMSG;
	memmove(b.data, b.data + c.pos, size); /* to the front, where malloc has aligned it */
	b.size = size;
	*ret = (struct config_seccomp){.program = b.data, .size = size, .flags = flags, .owned = b};
	b = (struct bytes){0};
	return 0;
}

static void keep(int dir_fd, const char *name, const struct bytes *key, const struct config_seccomp *s)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	const uint64_t check = fnv(s->program, s->size);
	const uint8_t head[8] = {
		(uint8_t)s->flags, (uint8_t)(s->flags >> 8), (uint8_t)(s->flags >> 16), (uint8_t)(s->flags >> 24),
		(uint8_t)key->size, (uint8_t)(key->size >> 8), (uint8_t)(key->size >> 16), (uint8_t)(key->size >> 24),
	};

	if (bytes_append(&b, head, sizeof(head)) == 0 && bytes_append(&b, key->data, key->size) == 0 &&
	    bytes_append(&b, s->program, s->size) == 0 && bytes_append(&b, &check, sizeof(check)) == 0)
		fd_write_file(dir_fd, name, b.data, b.size, 0600); /* a cache: next time then */
}

static int read_profile(const char *path, struct bytes *ret)
{
	int r;

	if (!path)
		return bytes_append(ret, seccomp_profile_data, seccomp_profile_size);
	r = fd_read_file(AT_FDCWD, path, LIMIT_SECCOMP_SIZE, ret);
	return r < 0 ? fail(-r, "seccomp profile %s: %s", path, strerror(-r)) : 0;
}

int seccomp_prepare(const char *profile, uint64_t caps, int cache_dir_fd, struct config_seccomp *ret)
{
	_cleanup_(bytes_free) struct bytes text = {0}, key = {0}, program = {0};
	struct config_seccomp s = {0};
	char name[17];
	int r;

	if (!profile && caps == CAPS_DEFAULT) {
		*ret = (struct config_seccomp){.program = seccomp_default_program,
					       .size = seccomp_default_program_size,
					       .flags = seccomp_default_flags};
		return 0;
	}
	r = read_profile(profile, &text);
	if (r == 0)
		r = make_key(&text, caps, &key);
	if (r < 0)
		return r;
	name_key(&key, name);
	if (cache_dir_fd >= 0 && load(cache_dir_fd, name, &key, ret) == 0)
		return 0;
	r = seccomp_profile_compile(text.data, text.size, profile ? profile : "built in", caps, &program, &s.flags);
	if (r < 0)
		return r;
	s.program = program.data;
	s.size = program.size;
	s.owned = program;
	program = (struct bytes){0};
	if (cache_dir_fd >= 0)
		keep(cache_dir_fd, name, &key, &s);
	*ret = s;
	return 0;
}
