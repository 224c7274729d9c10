/* EROFS cuts the first word of an xattr's name into a number. */
#include "format/erofs_xattr.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "format/erofs_format.h"
#include "format/tar.h"

static const char *const prefixes[] = {
	[EROFS_XATTR_USER] = "user.",
	[EROFS_XATTR_ACL_ACCESS] = "system.posix_acl_access",
	[EROFS_XATTR_ACL_DEFAULT] = "system.posix_acl_default",
	[EROFS_XATTR_TRUSTED] = "trusted.",
	[EROFS_XATTR_SECURITY] = "security.",
};
#define N_PREFIXES (sizeof(prefixes) / sizeof(prefixes[0]))

const char *erofs_xattr_prefix(unsigned int index)
{
	return index < N_PREFIXES ? prefixes[index] : NULL;
}

uint8_t erofs_xattr_index(const char *name, const char **ret_rest)
{
	for (uint8_t i = 1; i < N_PREFIXES; i++) {
		size_t size = prefixes[i] ? strlen(prefixes[i]) : 0;

		if (size == 0 || strncmp(name, prefixes[i], size) != 0)
			continue;
		/* A dot asks for more behind it, a whole name for the end. */
		if ((prefixes[i][size - 1] == '.') != (name[size] != '\0'))
			continue;
		*ret_rest = name + size;
		return i;
	}
	return 0;
}

static bool overlayfs_obeys(const char *name)
{
	return strncmp(name, "trusted.overlay.", 16) == 0 || strncmp(name, "user.overlay.", 13) == 0;
}

/* By name; of equal names the one that came last is first. */
static int compare(const void *a, const void *b)
{
	const struct tar_xattr *x = *(const struct tar_xattr *const *)a;
	const struct tar_xattr *y = *(const struct tar_xattr *const *)b;
	int r = strcmp(x->name, y->name);

	return r ? r : (x < y) - (x > y);
}

static int pack_one(const char *member, const struct tar_xattr *x, size_t limit, struct bytes *out)
{
	static const uint8_t zero[4] = {0};
	struct erofs_disk_xattr head = {0};
	const char *rest;
	size_t rest_size, end;
	int r;

	head.index = erofs_xattr_index(x->name, &rest);
	if (!head.index)
		return 0;
	if (strlen(x->name) > LIMIT_XATTR_NAME_SIZE)
		return fail(EFBIG, "member %.200s: an xattr's name of %zu bytes, allowed are %u", member,
			    strlen(x->name), LIMIT_XATTR_NAME_SIZE);
	if (x->value_size > LIMIT_XATTR_VALUE_SIZE)
		return fail(EFBIG, "member %.200s: xattr %s has %zu bytes, allowed are %u", member, x->name,
			    x->value_size, LIMIT_XATTR_VALUE_SIZE);
	rest_size = strlen(rest);
	head.name_size = (uint8_t)rest_size;
	head.value_size = htole16((uint16_t)x->value_size);
	end = sizeof(head) + rest_size + x->value_size;
	if (out->size + end > limit)
		return fail(EFBIG, "member %.200s: xattrs of more than %u bytes", member, LIMIT_XATTRS_SIZE);
	r = bytes_reserve(out, end + sizeof(zero));
	if (r < 0)
		return r;
	bytes_append(out, &head, sizeof(head)); /* there is room */
	bytes_append(out, rest, rest_size);
	bytes_append(out, x->value, x->value_size);
	bytes_append(out, zero, -end % 4);
	return 0;
}

int erofs_xattr_pack(const char *member, const struct tar_xattr *xattrs, size_t n, struct bytes *out)
{
	_cleanup_(fd_free_memory) const struct tar_xattr **sorted = calloc(n + 1, sizeof(sorted[0]));
	const size_t limit = out->size + LIMIT_XATTRS_SIZE;
	int r = sorted ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < n; i++)
		sorted[i] = &xattrs[i];
	if (r == 0)
		qsort(sorted, n, sizeof(sorted[0]), compare);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (!overlayfs_obeys(sorted[i]->name) &&
		    (i == 0 || strcmp(sorted[i]->name, sorted[i - 1]->name) != 0))
			r = pack_one(member, sorted[i], limit, out);
	return r;
}
