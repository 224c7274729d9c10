/* EROFS cuts the first word of an xattr's name into a number. */
#include "format/erofs_xattr.h"

#include <string.h>

#include "format/erofs_format.h"

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
