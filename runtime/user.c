/* passwd(5) and group(5), read line by line; a line that breaks their form is skipped, as libc does. */
#include "runtime/user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/beneath.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"

/* A piece of the file; not terminated. */
struct field {
	const char *text;
	size_t size;
};

void user_free(struct user *u)
{
	free(u->groups);
	free(u->home);
	*u = (struct user){0};
}

static bool field_is(const struct field *f, const char *text, size_t size)
{
	return f->size == size && memcmp(f->text, text, size) == 0;
}

/* False unless it is all digits. A number of more than 32 bits gives UINT64_MAX. */
static bool read_number(const char *text, size_t size, uint64_t *ret)
{
	uint64_t v = 0;

	if (size == 0)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		if (v <= UINT32_MAX)
			v = v * 10 + (uint64_t)(text[i] - '0');
	}
	*ret = v >= UINT32_MAX ? UINT64_MAX : v; /* (uid_t)-1 means "no change" to the kernel */
	return true;
}

/* The next line's fields, split at ':'. 0 at the end; lines with another number of fields come with *ret_n. */
static bool next_line(const struct bytes *file, size_t *pos, struct field *fields, size_t max, size_t *ret_n)
{
	const char *text = (const char *)file->data, *line, *end;

	if (*pos >= file->size)
		return false;
	line = text + *pos;
	end = memchr(line, '\n', file->size - *pos);
	if (!end)
		end = text + file->size;
	*pos = (size_t)(end - text) + 1;
	*ret_n = 0;
	while (line <= end && *ret_n < max) {
		const char *colon = memchr(line, ':', (size_t)(end - line));
		const char *stop = colon ? colon : end;

		fields[(*ret_n)++] = (struct field){line, (size_t)(stop - line)};
		line = stop + 1;
		if (!colon)
			break;
	}
	return true;
}

struct entry {
	struct field name, home;
	uint64_t uid, gid;
};

/* name:password:uid:gid:gecos:home:shell */
static bool find_user(const struct bytes *passwd, const char *name, size_t name_size, uint64_t uid, bool by_number,
		      struct entry *ret)
{
	struct field f[7];
	size_t pos = 0, n;

	while (next_line(passwd, &pos, f, 7, &n)) {
		struct entry e;

		if (n < 4 || f[0].size == 0 || !read_number(f[2].text, f[2].size, &e.uid) ||
		    !read_number(f[3].text, f[3].size, &e.gid))
			continue;
		if (by_number ? e.uid != uid : !field_is(&f[0], name, name_size))
			continue;
		e.name = f[0];
		e.home = n >= 6 ? f[5] : (struct field){"", 0};
		*ret = e;
		return true;
	}
	return false;
}

/* name:password:gid:member,member */
static bool find_group(const struct bytes *group, const char *name, size_t name_size, uint64_t *ret)
{
	struct field f[4];
	size_t pos = 0, n;

	while (next_line(group, &pos, f, 4, &n))
		if (n >= 3 && f[0].size > 0 && field_is(&f[0], name, name_size) &&
		    read_number(f[2].text, f[2].size, ret))
			return true;
	return false;
}

static int add_group(struct user *u, uint64_t gid)
{
	uint32_t *grown;

	for (size_t i = 0; i < u->n_groups; i++)
		if (u->groups[i] == gid)
			return 0;
	if (u->n_groups >= LIMIT_GROUPS)
		return fail(EFBIG, "the user is in more than %u groups", LIMIT_GROUPS);
	grown = realloc(u->groups, (u->n_groups + 1) * sizeof(*grown));
	if (!grown)
		return fail(ENOMEM, "out of memory");
	u->groups = grown;
	u->groups[u->n_groups++] = (uint32_t)gid;
	return 0;
}

static bool lists_member(const struct field *members, const struct field *name)
{
	const char *at = members->text, *end = at + members->size;

	while (at < end) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		const char *stop = comma ? comma : end;

		if (field_is(&(struct field){at, (size_t)(stop - at)}, name->text, name->size))
			return true;
		at = stop + 1;
	}
	return false;
}

static int add_memberships(struct user *u, const struct bytes *group, const struct field *name)
{
	struct field f[4];
	size_t pos = 0, n;
	uint64_t gid;

	while (next_line(group, &pos, f, 4, &n)) {
		int r;

		if (n < 4 || !read_number(f[2].text, f[2].size, &gid) || gid == UINT64_MAX || !lists_member(&f[3], name))
			continue;
		r = add_group(u, gid);
		if (r < 0)
			return r;
	}
	return 0;
}

static int group_number(const struct bytes *group, const char *text, uint64_t *ret)
{
	size_t size = strlen(text);

	if (!read_number(text, size, ret) && !find_group(group, text, size, ret))
		return fail(ENOENT, "there is no group \"%s\" in the image's /etc/group", text);
	if (*ret == UINT64_MAX)
		return fail(EINVAL, "group \"%s\" is not a number below 4294967295", text);
	return 0;
}

static int fill(struct user *u, const struct bytes *passwd, const struct bytes *group, const char *text,
		const char *const *more_groups)
{
	const char *colon = strchr(text, ':');
	size_t size = colon ? (size_t)(colon - text) : strlen(text);
	struct entry e = {.home = {"/", 1}};
	uint64_t uid = 0, gid = 0;
	bool known, number = size == 0 || read_number(text, size, &uid);
	int r = 0;

	known = find_user(passwd, text, size, uid, number, &e);
	if (!number && !known)
		return fail(ENOENT, "there is no user \"%.*s\" in the image's /etc/passwd", (int)size, text);
	if (known) {
		uid = e.uid;
		gid = e.gid;
	}
	if (colon && colon[1])
		r = group_number(group, colon + 1, &gid);
	if (r < 0)
		return r;
	if (uid == UINT64_MAX || gid == UINT64_MAX)
		return fail(EINVAL, "user \"%s\" is not a number below 4294967295", text);
	u->uid = (uint32_t)uid;
	u->gid = (uint32_t)gid;
	u->home = e.home.size > 0 && e.home.text[0] == '/' ? strndup(e.home.text, e.home.size) : strdup("/");
	if (!u->home)
		return fail(ENOMEM, "out of memory");
	r = add_group(u, gid);
	if (r == 0 && known && !(colon && colon[1]))
		r = add_memberships(u, group, &e.name);
	for (; r == 0 && more_groups && *more_groups; more_groups++) {
		r = group_number(group, *more_groups, &gid);
		if (r == 0)
			r = add_group(u, gid);
	}
	return r;
}

int user_parse(const struct bytes *passwd, const struct bytes *group, const char *text,
	       const char *const *more_groups, struct user *ret)
{
	_cleanup_(user_free) struct user u = {0};
	int r = fill(&u, passwd, group, text, more_groups);

	if (r < 0)
		return r;
	*ret = u;
	u = (struct user){0};
	return 0;
}

/* In the root, links followed as the container would; only a regular file is read (a fifo would block us). */
static int read_in_root(int root_fd, const char *path, struct bytes *ret)
{
	_cleanup_(fd_close) int fd = beneath_root_open(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	struct stat st;
	int r;

	if (fd == -ENOENT || fd == -ENOTDIR)
		return 0;
	if (fd < 0)
		return fail(-fd, "reading the image's %s: %s", path, strerror(-fd));
	if (fstat(fd, &st) < 0)
		return fail(errno, "reading the image's %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(EBADMSG, "the image's %s is no regular file", path);
	if (st.st_size > LIMIT_PASSWD_SIZE)
		return fail(EFBIG, "the image's %s is larger than %u bytes", path, LIMIT_PASSWD_SIZE);
	if (bytes_reserve(ret, (size_t)st.st_size) < 0)
		return fail(ENOMEM, "out of memory");
	r = fd_pread_full(fd, ret->data, (size_t)st.st_size, 0);
	if (r < 0)
		return fail(-r, "reading the image's %s: %s%s", path, strerror(-r),
			    r == -EIO ? "; bytes of it are not here and did not come (--offline? a registry that is away?): "
					"the server's log in the run directory says why" :
					"");
	ret->size = (size_t)st.st_size;
	return 0;
}

int user_resolve(int root_fd, const char *text, const char *const *more_groups, struct user *ret)
{
	_cleanup_(bytes_free) struct bytes passwd = {0}, group = {0};
	int r = read_in_root(root_fd, "/etc/passwd", &passwd);

	if (r == 0)
		r = read_in_root(root_fd, "/etc/group", &group);
	return r < 0 ? r : user_parse(&passwd, &group, text, more_groups, ret);
}
